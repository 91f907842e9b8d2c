// fileStoreOpen(directory, incoming, others): handle; `others`: directories with a NUL behind each.
// storeFiles(handle, bytes, spans, records, find): Promise<undefined>; spans are pairs of doubles; with
// `find` not 0 files are only looked for.
// findFiles(handle, digests, found): Promise<undefined>; found: a byte for each digest, 1 if it is here.
#include "file-store.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "layer-pool.h"
#include "operations.h"

namespace thinfs {
namespace {

// Everybody may read a tier's file (the root directory is closed); nobody changes it.
constexpr mode_t fileMode = 0644;
// What a disk allocates at a time, nearly everywhere.
constexpr size_t blockSize = 4096;
// `xx/` and 64 digits and a NUL.
constexpr size_t pathSize = 3 + 64 + 1;

void formatPath(const uint8_t* digest, char* path) {
  constexpr char digits[] = "0123456789abcdef";
  char* hex = path + 3;
  for (size_t at = 0; at < SHA256_DIGEST_LENGTH; at++) {
    hex[2 * at] = digits[digest[at] >> 4];
    hex[2 * at + 1] = digits[digest[at] & 15];
  }
  path[0] = hex[0];
  path[1] = hex[1];
  path[2] = '/';
  path[pathSize - 1] = '\0';
}

void hash(const uint8_t* data, size_t length, uint8_t* digest) {
  SHA256_CTX context;
  SHA256_Init(&context);
  SHA256_Update(&context, data, length);
  SHA256_Final(digest, &context);
}

bool cannotBeUnnamed(int error) {
  return error == EOPNOTSUPP || error == EISDIR || error == EINVAL || error == ENOENT;
}

}  // namespace

const char FileStore::tag = 0;

FileStore::~FileStore() {
  for (const int fd : others_) close(fd);
  if (incoming_ >= 0) close(incoming_);
  if (directory_ >= 0) close(directory_);
}

Failure FileStore::open(const std::string& directory, const std::string& incoming,
                        const std::vector<std::string>& others) {
  constexpr int flags = O_PATH | O_DIRECTORY | O_CLOEXEC;
  directory_ = ::open(directory.c_str(), flags);
  if (directory_ < 0) return {"open", errno};
  incoming_ = ::open(incoming.c_str(), flags);
  if (incoming_ < 0) return {"open", errno};
  for (const std::string& other : others) {
    others_.push_back(::open(other.c_str(), flags));
    if (others_.back() < 0) return {"open", errno};
  }
  return {};
}

void FileStore::find(const uint8_t* data, size_t length, StoredRecord* record) const {
  hash(data, length, record->digest);
  record->outcome = has(record->digest) ? wasHere : notStored;
}

Failure FileStore::store(const uint8_t* data, size_t length, StoredRecord* record) {
  hash(data, length, record->digest);
  char path[pathSize];
  formatPath(record->digest, path);
  if ((lastWasHere_ && isHere(path)) || isElsewhere(path)) {
    record->outcome = wasHere;
    return {};
  }
  Unnamed file;
  Failure failure = create(&file);
  if (failure.error == 0) failure = writeAll(file.fd, data, length);
  record->allocated = static_cast<double>((length + blockSize - 1) / blockSize * blockSize);
  if (failure.error == 0) return name(&file, record);
  discard(&file);
  return failure;
}

Failure FileStore::create(Unnamed* file) {
  if (unnamedWork_) {
    file->fd = openat(incoming_, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, fileMode);
    if (file->fd >= 0) return {};
    if (!cannotBeUnnamed(errno)) return {"openat", errno};
    unnamedWork_ = false;
  }
  file->name = "bulk-" + std::to_string(getpid()) + "-" + std::to_string(nextName_++);
  file->fd = openat(incoming_, file->name.c_str(), O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, fileMode);
  if (file->fd >= 0) return {};
  file->name.clear();
  return {"openat", errno};
}

Failure FileStore::name(Unnamed* file, StoredRecord* record) {
  char path[pathSize];
  formatPath(record->digest, path);
  bool existed = isElsewhere(path);
  Failure failure;
  if (!existed) failure = link(*file, path, &existed);
  discard(file);
  if (failure.error != 0) return failure;
  lastWasHere_ = existed;
  record->outcome = existed ? wasHere : storedNew;
  return {};
}

Failure FileStore::link(const Unnamed& file, const char* path, bool* existed) {
  int result;
  if (file.name.empty()) {
    result = linkat(file.fd, "", directory_, path, AT_EMPTY_PATH);
    if (result != 0 && errno == ENOENT) {  // without CAP_DAC_READ_SEARCH, before Linux 6.10
      const std::string self = "/proc/self/fd/" + std::to_string(file.fd);
      result = linkat(AT_FDCWD, self.c_str(), directory_, path, AT_SYMLINK_FOLLOW);
    }
  } else {
    result = linkat(incoming_, file.name.c_str(), directory_, path, 0);
  }
  *existed = result != 0 && errno == EEXIST;
  return result == 0 || *existed ? Failure{} : Failure{"linkat", errno};
}

void FileStore::discard(Unnamed* file) {
  if (file->fd >= 0) close(std::exchange(file->fd, -1));
  if (!file->name.empty()) unlinkat(incoming_, file->name.c_str(), 0);
  file->name.clear();
}

bool FileStore::has(const uint8_t* digest) const {
  char path[pathSize];
  formatPath(digest, path);
  return isHere(path) || isElsewhere(path);
}

bool FileStore::isHere(const char* path) const {
  return faccessat(directory_, path, F_OK, 0) == 0;
}

bool FileStore::isElsewhere(const char* path) const {
  return std::any_of(others_.begin(), others_.end(),
                     [path](int other) { return faccessat(other, path, F_OK, 0) == 0; });
}

Failure writeAll(int fd, const uint8_t* data, size_t length) {
  while (length > 0) {
    const ssize_t written = write(fd, data, length);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return {"write", errno};
    data += written;
    length -= static_cast<size_t>(written);
  }
  return {};
}

namespace {

// A file in the bytes of a call; doubles, as everything that comes in a Float64Array.
struct Span {
  double offset;
  double length;
};

class StoreFiles final : public Work {
 public:
  StoreFiles(std::shared_ptr<FileStore> store, Bytes bytes, Bytes spans, Bytes records, bool find)
      : store_(std::move(store)),
        find_(find),
        bytes_(bytes),
        spans_(reinterpret_cast<const Span*>(spans.data)),
        records_(reinterpret_cast<StoredRecord*>(records.data)),
        count_(spans.length / sizeof(Span)) {}

  void run() override {
    for (size_t at = 0; at < count_; at++) {
      const auto offset = static_cast<size_t>(spans_[at].offset);
      const auto length = static_cast<size_t>(spans_[at].length);
      if (offset > bytes_.length || length > bytes_.length - offset) {
        return fail("invalid", "a file leaves the buffer");
      }
      const uint8_t* const data = bytes_.data + offset;
      Failure failure;
      if (find_) store_->find(data, length, &records_[at]);
      if (!find_) failure = store_->store(data, length, &records_[at]);
      if (failure.error != 0) return failSystem(failure.call, failure.error);
    }
  }

  napi_value result(napi_env env) override { return undefinedValue(env); }

 private:
  const std::shared_ptr<FileStore> store_;
  const bool find_;
  const Bytes bytes_;
  const Span* const spans_;
  StoredRecord* const records_;
  const size_t count_;
};

class FindFiles final : public Work {
 public:
  FindFiles(std::shared_ptr<FileStore> store, Bytes digests, Bytes found)
      : store_(std::move(store)), digests_(digests.data), found_(found.data), count_(found.length) {}

  void run() override {
    for (size_t at = 0; at < count_; at++) {
      found_[at] = store_->has(digests_ + at * SHA256_DIGEST_LENGTH) ? 1 : 0;
    }
  }

  napi_value result(napi_env env) override { return undefinedValue(env); }

 private:
  const std::shared_ptr<FileStore> store_;
  const uint8_t* const digests_;
  uint8_t* const found_;
  const size_t count_;
};

std::vector<std::string> splitAtNul(const std::string& text) {
  std::vector<std::string> parts;
  for (size_t at = 0; at < text.size();) {
    const size_t end = text.find('\0', at);
    parts.push_back(text.substr(at, end - at));
    at = end == std::string::npos ? text.size() : end + 1;
  }
  return parts;
}

void throwSystem(napi_env env, const Failure& failure) {
  napi_value message, error, number;
  const std::string text = std::string(failure.call) + " failed";
  napi_create_string_utf8(env, text.data(), text.size(), &message);
  napi_create_error(env, nullptr, message, &error);
  napi_create_int32(env, failure.error, &number);
  napi_set_named_property(env, error, "errno", number);
  napi_throw(env, error);
}

}  // namespace

napi_value fileStoreOpen(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  const std::string directory = arguments.text(0);
  const std::string incoming = arguments.text(1);
  const std::string others = arguments.text(2);
  if (arguments.failed()) return nullptr;
  auto store = std::make_shared<FileStore>();
  const Failure failure = store->open(directory, incoming, splitAtNul(others));
  if (failure.error != 0) {
    throwSystem(env, failure);
    return nullptr;
  }
  return stateValue(env, store);
}

napi_value storeFiles(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  auto store = arguments.state<FileStore>(0);
  const Bytes bytes = arguments.bytes(1);
  const Bytes spans = arguments.bytes(2);
  const Bytes records = arguments.bytes(3);
  const bool find = arguments.integer(4) != 0;
  if (arguments.failed()) return nullptr;
  if (records.length / sizeof(StoredRecord) < spans.length / sizeof(Span)) {
    napi_throw_range_error(env, "invalid", "wanted a record for each file");
    return nullptr;
  }
  return startOnLayerPool(env, std::make_unique<StoreFiles>(std::move(store), bytes, spans, records, find),
               {arguments.value(1), arguments.value(2), arguments.value(3)});
}

napi_value findFiles(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  auto store = arguments.state<FileStore>(0);
  const Bytes digests = arguments.bytes(1);
  const Bytes found = arguments.bytes(2);
  if (arguments.failed()) return nullptr;
  if (digests.length != found.length * SHA256_DIGEST_LENGTH) {
    napi_throw_range_error(env, "invalid", "wanted a byte for each digest");
    return nullptr;
  }
  return startOnLayerPool(env, std::make_unique<FindFiles>(std::move(store), digests, found),
               {arguments.value(1), arguments.value(2)});
}

}  // namespace thinfs
