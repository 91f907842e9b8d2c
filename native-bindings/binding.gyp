{
  "targets": [
    {
      "target_name": "thinfs",
      "sources": [
        "src/entry.cc",
        "src/work.cc",
        "src/layer-pool.cc",
        "src/arguments.cc",
        "src/inflate-step.cc",
        "src/zstd-compress.cc",
        "src/zstd-decompress.cc",
        "src/zstd-inflate.cc",
        "src/gzip-header.cc",
        "src/gzip-inflate.cc",
        "src/cut-and-hash.cc",
        "src/file-store.cc",
        "src/file-spool.cc",
        "src/sort-files.cc",
        "src/hash-stream.cc",
        "src/copy-verified.cc",
        "src/trim-memory.cc",
        "src/resident-memory.cc",
        "src/xattr.cc",
        "src/mount.cc",
        "src/mount-api.cc",
        "src/loop-device.cc",
        "src/sync-file-system.cc",
        "src/set-time.cc",
        "src/socket.cc",
      ],
      # SHA-256 comes from the OpenSSL that Node itself exports, through Node's own headers.
      "defines": ["NAPI_VERSION=8", "OPENSSL_API_COMPAT=0x10100000L"],
      "libraries": ["-lzstd", "-lisal"],
      "cflags": ["-O3", "-Wall", "-Wextra", "-Werror=return-type", "-fvisibility=hidden"],
      "cflags_cc": ["-std=c++17"],
      "conditions": [
        ["OS!='linux'", {"type": "none"}],
      ],
    }
  ]
}
