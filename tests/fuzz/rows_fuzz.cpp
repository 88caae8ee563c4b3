// Fuzzes the reader of packed rows.  The checksum of the last 128 bytes is mended first: it would keep the fuzzer out.
#include <lolcats/core/error.hpp>
#include <lolcats/data/dataset.hpp>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <span>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace lolcats;
  const auto* first = reinterpret_cast<const std::byte*>(data);
  std::vector<std::byte> bytes(first, first + size);
  if (size >= sizeof(PackedInfo)) {
    PackedInfo info;
    std::memcpy(&info, bytes.data() + size - sizeof info, sizeof info);
    info.checksum = info.sum();
    std::memcpy(bytes.data() + size - sizeof info, &info, sizeof info);
  }
  try {
    const DataSet rows(std::make_shared<const PackedRows>(std::span<const std::byte>(bytes), nullptr, "fuzz"));
    const auto largest = static_cast<Index>(rows.packed_info()->largest);
    for (Index row = 0; row < rows.size(); ++row) {
      const Batch batch = rows.batch(row, 1);
      for (const Index token : batch.tokens)
        if (token < 0 || token > largest) std::abort();
      (void)DataSet({rows[row]});
    }
    (void)rows.fingerprint();
  } catch (const Error&) {
    // refusing is what bad bytes deserve; any other exception is a finding
  }
  return 0;
}
