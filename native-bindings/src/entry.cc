// Registers the operations and does nothing else. Context-aware: may be loaded by any number of
// threads, keeps nothing of one environment outside it.
#include <node_api.h>

#include "operations.h"

namespace {

// Raised with every change of a signature, so that a stale build is recognised (addon.ts).
constexpr uint32_t interfaceVersion = 10;

struct Operation {
  const char* name;
  napi_callback call;
};

constexpr Operation operations[] = {
    {"zstdCompress", thinfs::zstdCompress},
    {"zstdCompressNow", thinfs::zstdCompressNow},
    {"zstdCompressBound", thinfs::zstdCompressBound},
    {"zstdDecompress", thinfs::zstdDecompress},
    {"zstdDecompressNow", thinfs::zstdDecompressNow},
    {"zstdInflaterOpen", thinfs::zstdInflaterOpen},
    {"zstdInflaterStep", thinfs::zstdInflaterStep},
    {"gzipInflaterOpen", thinfs::gzipInflaterOpen},
    {"gzipInflaterStep", thinfs::gzipInflaterStep},
    {"cutterOpen", thinfs::cutterOpen},
    {"cutAndHash", thinfs::cutAndHash},
    {"fileStoreOpen", thinfs::fileStoreOpen},
    {"storeFiles", thinfs::storeFiles},
    {"findFiles", thinfs::findFiles},
    {"sortFiles", thinfs::sortFiles},
    {"spoolOpen", thinfs::spoolOpen},
    {"spoolWrite", thinfs::spoolWrite},
    {"spoolCommit", thinfs::spoolCommit},
    {"hashOpen", thinfs::hashOpen},
    {"hashUpdate", thinfs::hashUpdate},
    {"hashDigest", thinfs::hashDigest},
    {"copyVerified", thinfs::copyVerified},
    {"trimMemory", thinfs::trimMemory},
    {"residentMemory", thinfs::residentMemory},
    {"listXattrs", thinfs::listXattrs},
    {"getXattr", thinfs::getXattr},
    {"setXattr", thinfs::setXattr},
    {"mount", thinfs::mountFileSystem},
    {"unmount", thinfs::unmountFileSystem},
    {"mountWithSettings", thinfs::mountWithSettings},
    {"reconfigureMount", thinfs::reconfigureMount},
    {"attachLoop", thinfs::attachLoop},
    {"syncFileSystem", thinfs::syncFileSystem},
    {"setTime", thinfs::setTime},
    {"socketPair", thinfs::socketPair},
    {"receiveFd", thinfs::receiveFd},
};

}  // namespace

NAPI_MODULE_INIT() {
  napi_value version;
  if (napi_create_uint32(env, interfaceVersion, &version) != napi_ok ||
      napi_set_named_property(env, exports, "interfaceVersion", version) != napi_ok) {
    return nullptr;
  }
  for (const Operation& operation : operations) {
    napi_value call;
    if (napi_create_function(env, operation.name, NAPI_AUTO_LENGTH, operation.call, nullptr,
                             &call) != napi_ok ||
        napi_set_named_property(env, exports, operation.name, call) != napi_ok) {
      return nullptr;
    }
  }
  return exports;
}
