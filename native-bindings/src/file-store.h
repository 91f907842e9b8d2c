// A directory of files named `xx/<64 hex>` by the SHA-256 of their content, and how a file gets in.
#pragma once

#include <openssl/sha.h>

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "arguments.h"

namespace thinfs {

// What is told of one stored file: 48 bytes, little-endian.
struct StoredRecord {
  uint32_t outcome;
  uint32_t reserved;
  double allocated;  // bytes of disk
  uint8_t digest[SHA256_DIGEST_LENGTH];
};
static_assert(sizeof(StoredRecord) == 48, "file-store.ts reads 48 bytes");
enum StoreOutcome : uint32_t { notStored = 0, storedNew = 1, wasHere = 2 };

// A system call that failed.
struct Failure {
  const char* call = nullptr;
  int error = 0;
};

// A file on its way: without a name where the file system can do that, so that no crash leaves it.
struct Unnamed {
  int fd = -1;
  std::string name;  // in the incoming directory; empty if it has none
};

// Safe for any number of threads.
class FileStore final : public State {
 public:
  static const char tag;
  FileStore() : State(&tag) {}
  ~FileStore() override;

  Failure open(const std::string& directory, const std::string& incoming,
               const std::vector<std::string>& others);

  // The whole of a small file.
  Failure store(const uint8_t* data, size_t length, StoredRecord* record);
  // Only looks whether it is here.
  void find(const uint8_t* data, size_t length, StoredRecord* record) const;

  bool has(const uint8_t* digest) const;
  // The file before was here: this one is likely to be, too.
  bool expectsHere() const { return lastWasHere_; }

  Failure create(Unnamed* file);
  // Gives `file` the name that record->digest says, and closes it; sets the outcome.
  Failure name(Unnamed* file, StoredRecord* record);
  void discard(Unnamed* file);

 private:
  bool isHere(const char* path) const;
  bool isElsewhere(const char* path) const;
  Failure link(const Unnamed& file, const char* path, bool* existed);

  int directory_ = -1;
  int incoming_ = -1;
  std::vector<int> others_;
  std::atomic<uint64_t> nextName_{0};
  std::atomic<bool> unnamedWork_{true};
  // What is here comes in runs: while it does, looking first saves the writing.
  std::atomic<bool> lastWasHere_{false};
};

Failure writeAll(int fd, const uint8_t* data, size_t length);

}  // namespace thinfs
