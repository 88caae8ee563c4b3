// Fuzzes the readers of texts: the first byte chooses the kind, the rest is the file.
#include <lolcats/core/error.hpp>
#include <lolcats/data/documents.hpp>
#include <lolcats/data/record.hpp>
#include <lolcats/data/text_encoder.hpp>
#include <lolcats/data/text_parts.hpp>

#include "../data/plain_tokenizer.hpp"

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

namespace {

using namespace lolcats;

void require_true(bool condition) {
  if (!condition) std::abort();
}

/// Every record is a part of the text behind the one before it, and its line is right.
void read(std::string_view text, TextKind kind) {
  const tests::PlainTokenizer tokenizer = tests::chat_tokenizer();
  const TextEncoder encoder(tokenizer, chat_template("chatml"), EndOfText::Automatic, true);
  RecordReader reader(text, kind, "fuzz");
  const char* behind = text.data();
  while (const auto record = reader.next()) {
    const char* at = record->bytes.data();
    require_true(at >= behind && at + record->bytes.size() <= text.data() + text.size() && !record->bytes.empty());
    behind = at + record->bytes.size();
    require_true(record->line == 1 + std::count(text.data(), at, '\n'));
    if (kind == TextKind::JsonLines || kind == TextKind::JsonArray) {
      const auto item = parse_record(record->bytes, "fuzz");
      if (!item) continue;
      const Sample sample = encoder(*item);
      require_true(sample.labels.size() == sample.tokens.size());
    } else {
      std::string joined;
      for (const auto part : detail::parts_of_text(record->bytes, tokenizer, 16)) joined += part;
      require_true(joined == record->bytes);
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  try {
    require_text(text, "fuzz");
    switch (data[0] % 6) {
      case 0: read(text, TextKind::Documents); break;
      case 1: read(text, TextKind::Lines); break;
      case 2: read(text, TextKind::JsonLines); break;
      case 3: read(text, TextKind::JsonArray); break;
      case 4: parse_alpaca(text, "fuzz"); break;
      default:
        for (const std::string& document : split_documents(text, "fuzz")) require_true(!document.empty());
    }
  } catch (const lolcats::Error&) {
    // refusing is what bad bytes deserve; any other exception is a finding
  }
  return 0;
}
