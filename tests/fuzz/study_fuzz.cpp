// Fuzzes the reader of a study's rows.  What is accepted is written and read again.
#include <lolcats/ablation/row_folder.hpp>

#include <cstdlib>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using Json = nlohmann::ordered_json;
  const Json json = Json::parse(data, data + size, nullptr, false);
  if (json.is_discarded()) return 0;
  try {
    const lolcats::AblationRow row = lolcats::row_from_json(json, "fuzz");
    const std::string text = lolcats::to_json(row).dump();
    if (lolcats::to_json(lolcats::row_from_json(Json::parse(text), "again")).dump() != text) std::abort();
    (void)lolcats::to_csv({.rows = {row}});
  } catch (const lolcats::Error&) {
    // refusing is what bad bytes deserve; any other exception is a finding
  }
  return 0;
}
