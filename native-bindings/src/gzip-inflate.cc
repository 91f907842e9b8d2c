// gzipInflaterOpen(): handle; gzipInflaterStep(handle, input, output).
// RFC 1952 through ISA-L's igzip: any number of members, each checked against its CRC and length,
// and after the last one zero bytes as padding (tape blocks), which gzip accepts as well.
#include <isa-l/igzip_lib.h>

#include <algorithm>
#include <memory>

#include "gzip-header.h"
#include "inflate-step.h"
#include "operations.h"

namespace thinfs {
namespace {

constexpr uint8_t memberStart = 0x1f;

struct GzipInflater final : Inflater {
  static const char tag;
  enum class Place { beforeFirst, inHeader, inMember, afterMember, inPadding };

  GzipInflater() : Inflater(&tag) { isal_inflate_init(&state); }

  Outcome step(Bytes input, Bytes output) override {
    Outcome outcome;
    while (outcome.problem == nullptr) {
      const Bytes in{input.data + outcome.consumed, input.length - outcome.consumed};
      const Bytes out{output.data + outcome.produced, output.length - outcome.produced};
      if (place == Place::inHeader) {
        if (in.length == 0) break;
        inHeader(in, &outcome);
      } else if (place == Place::inMember) {
        const size_t moved = outcome.consumed + outcome.produced;
        inMember(in, out, &outcome);
        const bool stuck = moved == outcome.consumed + outcome.produced;
        if (place == Place::inMember && (stuck || outcome.produced == output.length)) break;
      } else {
        if (in.length == 0) break;
        betweenMembers(in, &outcome);
      }
    }
    return outcome;
  }

  bool complete() const override {
    return place == Place::afterMember || place == Place::inPadding;
  }

 private:
  void betweenMembers(Bytes in, Outcome* outcome) {
    if (in.data[0] == memberStart && place != Place::inPadding) {
      header = GzipHeader();
      place = Place::inHeader;
    } else if (in.data[0] == 0 && place != Place::beforeFirst) {
      place = Place::inPadding;
      const auto isGarbage = [](uint8_t byte) { return byte != 0; };
      const uint8_t* garbage = std::find_if(in.data, in.data + in.length, isGarbage);
      outcome->consumed += garbage - in.data;
    } else {
      outcome->problem = place == Place::beforeFirst ? "it does not begin as gzip does"
                                                     : "garbage follows the last member";
    }
  }

  void inHeader(Bytes in, Outcome* outcome) {
    outcome->consumed += header.take(in);
    outcome->problem = header.problem();
    if (!header.complete()) return;
    isal_inflate_reset(&state);
    state.crc_flag = ISAL_GZIP_NO_HDR_VER;
    place = Place::inMember;
  }

  void inMember(Bytes in, Bytes out, Outcome* outcome) {
    // igzip counts in 32 bits.
    constexpr size_t sliceMax = 1u << 30;
    state.next_in = in.data;
    state.avail_in = static_cast<uint32_t>(std::min(in.length, sliceMax));
    state.next_out = out.data;
    state.avail_out = static_cast<uint32_t>(std::min(out.length, sliceMax));
    const int status = isal_inflate(&state);
    outcome->consumed += state.next_in - in.data;
    outcome->produced += state.next_out - out.data;
    if (status != ISAL_DECOMP_OK && status != ISAL_END_INPUT) {
      outcome->problem = problemOf(status);
    } else if (state.block_state == ISAL_BLOCK_FINISH) {
      place = Place::afterMember;
    }
  }

  static const char* problemOf(int status) {
    switch (status) {
      case ISAL_INVALID_BLOCK:
        return "a deflate block is invalid";
      case ISAL_INVALID_SYMBOL:
        return "a deflate symbol is invalid";
      case ISAL_INVALID_LOOKBACK:
        return "a deflate distance reaches before the start";
      case ISAL_INCORRECT_CHECKSUM:
        return "a member's checksum or length does not match its content";
      default:
        return "it cannot be inflated";
    }
  }

  inflate_state state;
  GzipHeader header;
  Place place = Place::beforeFirst;
};

const char GzipInflater::tag = 0;

}  // namespace

napi_value gzipInflaterOpen(napi_env env, napi_callback_info) {
  return stateValue(env, std::make_shared<GzipInflater>());
}

napi_value gzipInflaterStep(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  auto inflater = arguments.state<GzipInflater>(0);
  if (arguments.failed()) return nullptr;
  return startStep(env, arguments, inflater);
}

}  // namespace thinfs
