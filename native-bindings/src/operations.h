// Every function that the addon exports; entry.cc registers them, one file implements each group.
#pragma once

#include <node_api.h>

namespace thinfs {

// zstd-compress.cc, zstd-decompress.cc, zstd-inflate.cc
napi_value zstdCompress(napi_env env, napi_callback_info info);
napi_value zstdCompressNow(napi_env env, napi_callback_info info);
napi_value zstdCompressBound(napi_env env, napi_callback_info info);
napi_value zstdDecompress(napi_env env, napi_callback_info info);
napi_value zstdDecompressNow(napi_env env, napi_callback_info info);
napi_value zstdInflaterOpen(napi_env env, napi_callback_info info);
napi_value zstdInflaterStep(napi_env env, napi_callback_info info);

// gzip-inflate.cc
napi_value gzipInflaterOpen(napi_env env, napi_callback_info info);
napi_value gzipInflaterStep(napi_env env, napi_callback_info info);

// cut-and-hash.cc
napi_value cutterOpen(napi_env env, napi_callback_info info);
napi_value cutAndHash(napi_env env, napi_callback_info info);

// file-store.cc, file-spool.cc, sort-files.cc
napi_value fileStoreOpen(napi_env env, napi_callback_info info);
napi_value storeFiles(napi_env env, napi_callback_info info);
napi_value findFiles(napi_env env, napi_callback_info info);
napi_value sortFiles(napi_env env, napi_callback_info info);
napi_value spoolOpen(napi_env env, napi_callback_info info);
napi_value spoolWrite(napi_env env, napi_callback_info info);
napi_value spoolCommit(napi_env env, napi_callback_info info);

// hash-stream.cc
napi_value hashOpen(napi_env env, napi_callback_info info);
napi_value hashUpdate(napi_env env, napi_callback_info info);
napi_value hashDigest(napi_env env, napi_callback_info info);

// copy-verified.cc
napi_value copyVerified(napi_env env, napi_callback_info info);

// trim-memory.cc
napi_value trimMemory(napi_env env, napi_callback_info info);

// resident-memory.cc
napi_value residentMemory(napi_env env, napi_callback_info info);

// xattr.cc
napi_value listXattrs(napi_env env, napi_callback_info info);
napi_value getXattr(napi_env env, napi_callback_info info);
napi_value setXattr(napi_env env, napi_callback_info info);

// mount.cc
napi_value mountFileSystem(napi_env env, napi_callback_info info);
napi_value unmountFileSystem(napi_env env, napi_callback_info info);

// mount-api.cc
napi_value mountWithSettings(napi_env env, napi_callback_info info);
napi_value reconfigureMount(napi_env env, napi_callback_info info);

// loop-device.cc
napi_value attachLoop(napi_env env, napi_callback_info info);

// sync-file-system.cc
napi_value syncFileSystem(napi_env env, napi_callback_info info);

// set-time.cc
napi_value setTime(napi_env env, napi_callback_info info);

// socket.cc
napi_value socketPair(napi_env env, napi_callback_info info);
napi_value receiveFd(napi_env env, napi_callback_info info);

}  // namespace thinfs
