// cutterOpen(gear, minimum, normal, maximum, maskBelow, maskAbove): handle
// cutAndHash(handle, bytes, runs, records): Promise<number>, how many records were written.
//
// The algorithm is described and also implemented in src/chunk/cutter.ts, which is the reference;
// its parameters come from there. What an unfinished file needs is carried over to the next call.
#include <openssl/sha.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <memory>

#include "arguments.h"
#include "operations.h"
#include "work.h"

namespace thinfs {
namespace {

constexpr size_t digestSize = SHA256_DIGEST_LENGTH;

// A run as it comes from cut-and-hash.ts: two doubles, so that lengths beyond 2^32 fit.
struct Run {
  double length;
  double flags;
};
enum RunFlags : uint32_t { beginsFile = 1, endsFile = 2, isHole = 4, oneChunk = 8 };

// A record as it goes back: little-endian, as every machine that Debian's ISA-L is built for.
struct Record {
  uint32_t kind;
  uint32_t length;
  uint8_t digest[digestSize];
};
constexpr uint32_t chunkRecord = 1, fileRecord = 2;
static_assert(sizeof(Record) == 40, "cut-and-hash.ts reads 40 bytes");

constexpr size_t zerosLength = 64 * 1024;
const uint8_t zeros[zerosLength] = {};

struct Parameters {
  uint32_t gear[256];
  uint32_t minimum, normal, maximum;  // bytes
  uint32_t maskBelow, maskAbove;      // tested before and after `normal` bytes
};

struct Cutter final : State {
  static const char tag;
  explicit Cutter(const Parameters& given) : State(&tag), parameters(given) {
    SHA256_Init(&file);
    SHA256_Init(&chunk);
  }

  // How many of `bytes` still belong to the current chunk; sets `ends` if it ends with them.
  size_t toBoundary(Bytes bytes, bool* ends);

  const Parameters parameters;
  std::atomic<bool> busy{false};
  SHA256_CTX file;
  SHA256_CTX chunk;
  uint32_t chunkLength = 0;
  uint32_t hash = 0;
  bool cutting = false;  // false: the file is one chunk, whatever its bytes
  bool zerosProbed = false;
  bool zerosUncut = false;  // a chunk of zeros only ends at `maximum`
  uint8_t zerosDigest[digestSize];
};

const char Cutter::tag = 0;

size_t Cutter::toBoundary(Bytes bytes, bool* ends) {
  *ends = false;
  if (!cutting) return bytes.length;
  const Parameters& p = parameters;
  const size_t skipped = chunkLength < p.minimum ? p.minimum - chunkLength : 0;
  const size_t last = std::min<size_t>(bytes.length, p.maximum - chunkLength);
  const size_t turn = std::min<size_t>(last, chunkLength < p.normal ? p.normal - chunkLength : 0);
  uint32_t rolling = hash;
  size_t at = std::min(skipped, last);
  for (; at < turn; at++) {
    rolling = (rolling << 1) + p.gear[bytes.data[at]];
    if ((rolling & p.maskBelow) == 0) return *ends = true, at + 1;
  }
  for (; at < last; at++) {
    rolling = (rolling << 1) + p.gear[bytes.data[at]];
    if ((rolling & p.maskAbove) == 0) return *ends = true, at + 1;
  }
  hash = rolling;
  *ends = chunkLength + last == p.maximum;
  return last;
}

class CutAndHash final : public Work {
 public:
  CutAndHash(std::shared_ptr<Cutter> cutter, Bytes bytes, Bytes runs, Bytes records)
      : cutter_(std::move(cutter)),
        at_(bytes.data),
        left_(bytes.length),
        runs_(reinterpret_cast<const Run*>(runs.data)),
        runCount_(runs.length / sizeof(Run)),
        records_(records.data),
        recordsMax_(records.length / sizeof(Record)) {}
  ~CutAndHash() override { cutter_->busy = false; }

  void run() override {
    probeZeros();
    for (size_t index = 0; index < runCount_ && !overflow_; index++) oneRun(runs_[index]);
    if (overflow_) fail("invalid", "the runs do not fit the buffers");
  }

  napi_value result(napi_env env) override {
    return numberValue(env, static_cast<double>(recordCount_));
  }

 private:
  void oneRun(const Run& run) {
    const auto flags = static_cast<uint32_t>(run.flags);
    const auto length = static_cast<uint64_t>(run.length);
    if (flags & beginsFile) {
      SHA256_Init(&cutter_->file);
      startChunk();
      cutter_->cutting = !(flags & oneChunk);
    }
    if (flags & isHole) {
      hole(length);
    } else if (length > left_) {
      overflow_ = true;
    } else {
      data({at_, static_cast<size_t>(length)});
      at_ += length;
      left_ -= length;
    }
    if (flags & endsFile) endFile();
  }

  void data(Bytes bytes) {
    while (bytes.length > 0 && !overflow_) {
      bool ends = false;
      const size_t length = cutter_->toBoundary(bytes, &ends);
      SHA256_Update(&cutter_->chunk, bytes.data, length);
      if (cutter_->cutting) SHA256_Update(&cutter_->file, bytes.data, length);
      cutter_->chunkLength += static_cast<uint32_t>(length);
      if (ends) endChunk();
      bytes = {bytes.data + length, bytes.length - length};
    }
  }

  // Zeros cost one SHA-256, that of the file, where whole chunks of them have a known digest.
  void hole(uint64_t length) {
    const uint32_t whole = cutter_->parameters.maximum;
    while (length > 0 && !overflow_) {
      if (cutter_->cutting && cutter_->zerosUncut && cutter_->chunkLength == 0 && length >= whole) {
        for (uint32_t left = whole; left > 0;) {
          const uint32_t part = std::min<uint32_t>(left, zerosLength);
          SHA256_Update(&cutter_->file, zeros, part);
          left -= part;
        }
        emit(chunkRecord, whole, cutter_->zerosDigest);
        length -= whole;
      } else {
        const size_t part = std::min<uint64_t>(length, untilChunkEnd());
        data({const_cast<uint8_t*>(zeros), part});
        length -= part;
      }
    }
  }

  size_t untilChunkEnd() const {
    if (!cutter_->cutting) return zerosLength;
    return std::min<size_t>(zerosLength, cutter_->parameters.maximum - cutter_->chunkLength);
  }

  void startChunk() {
    SHA256_Init(&cutter_->chunk);
    cutter_->chunkLength = 0;
    cutter_->hash = 0;
  }

  void endChunk() {
    uint8_t digest[digestSize];
    SHA256_Final(digest, &cutter_->chunk);
    emit(chunkRecord, cutter_->chunkLength, digest);
    startChunk();
  }

  void endFile() {
    uint8_t digest[digestSize];
    if (cutter_->cutting) {
      if (cutter_->chunkLength > 0) endChunk();
      SHA256_Final(digest, &cutter_->file);
    } else {
      SHA256_CTX context = cutter_->chunk;
      SHA256_Final(digest, &context);
      if (cutter_->chunkLength > 0) endChunk();
    }
    emit(fileRecord, 0, digest);
  }

  void emit(uint32_t kind, uint32_t length, const uint8_t* digest) {
    if (recordCount_ == recordsMax_) {
      overflow_ = true;
      return;
    }
    Record record{kind, length, {}};
    std::memcpy(record.digest, digest, digestSize);
    std::memcpy(records_ + recordCount_ * sizeof record, &record, sizeof record);
    recordCount_++;
  }

  // Whether the gear table cuts zeros, found by trying it once for each cutter.
  void probeZeros() {
    if (cutter_->zerosProbed) return;
    Cutter probe(cutter_->parameters);
    probe.cutting = true;
    bool ends = false;
    SHA256_CTX context;
    SHA256_Init(&context);
    while (!ends) {
      const size_t length = probe.toBoundary({const_cast<uint8_t*>(zeros), zerosLength}, &ends);
      SHA256_Update(&context, zeros, length);
      probe.chunkLength += static_cast<uint32_t>(length);
    }
    SHA256_Final(cutter_->zerosDigest, &context);
    cutter_->zerosUncut = probe.chunkLength == cutter_->parameters.maximum;
    cutter_->zerosProbed = true;
  }

  const std::shared_ptr<Cutter> cutter_;
  uint8_t* at_;
  size_t left_;
  const Run* const runs_;
  const size_t runCount_;
  uint8_t* const records_;
  const size_t recordsMax_;
  size_t recordCount_ = 0;
  bool overflow_ = false;
};

}  // namespace

napi_value cutterOpen(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  const Bytes gear = arguments.bytes(0);
  Parameters parameters{};
  parameters.minimum = static_cast<uint32_t>(arguments.integer(1));
  parameters.normal = static_cast<uint32_t>(arguments.integer(2));
  parameters.maximum = static_cast<uint32_t>(arguments.integer(3));
  parameters.maskBelow = static_cast<uint32_t>(arguments.integer(4));
  parameters.maskAbove = static_cast<uint32_t>(arguments.integer(5));
  if (arguments.failed()) return nullptr;
  if (gear.length != sizeof parameters.gear || parameters.maximum == 0) {
    napi_throw_range_error(env, "invalid", "wanted 256 gear words and a maximum over 0");
    return nullptr;
  }
  std::memcpy(parameters.gear, gear.data, sizeof parameters.gear);
  return stateValue(env, std::make_shared<Cutter>(parameters));
}

napi_value cutAndHash(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  auto cutter = arguments.state<Cutter>(0);
  const Bytes bytes = arguments.bytes(1);
  const Bytes runs = arguments.bytes(2);
  const Bytes records = arguments.bytes(3);
  if (arguments.failed()) return nullptr;
  if (cutter->busy.exchange(true)) {
    napi_throw_error(env, "invalid", "the cutter is busy with another call");
    return nullptr;
  }
  return start(env, std::make_unique<CutAndHash>(std::move(cutter), bytes, runs, records),
               {arguments.value(1), arguments.value(2), arguments.value(3)});
}

}  // namespace thinfs
