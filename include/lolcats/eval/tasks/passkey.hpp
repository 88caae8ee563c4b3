// Pass keys: can a model repeat five digits that it has read far behind?
#pragma once

#include <lolcats/eval/tasks/prompts.hpp>
#include <lolcats/eval/tasks/python_random.hpp>

#include <string>
#include <utility>
#include <vector>

namespace lolcats {

/// A text of about `length` tokens with a key in it, a question at its end, and the key as the continuation.
struct PassKey {
  Continuation tokens;
  std::string key;
  Index distance = 0;  // tokens from the sentence with the key to the end of the context
  double depth = 0;    // where that sentence stands: 0 at the beginning of the text, 1 at its end
  bool cut = false;    // longer than the model reads: the beginning is lost
};

/// Hides keys in five sentences that repeat: `count` texts of about `length` tokens.  For each, `random` draws the key
/// by randrange(10000, 99999) and then the depth by random(), as Python programs do.
/// Mohtashami and Jaggi 2023, arXiv:2305.16300.  Throws DataError where the key's sentence and the question leave no room.
inline std::vector<PassKey> filler_passkeys(const Encoding& encoding, Index length, Index count, PythonRandom& random) {
  static constexpr std::string_view fill =
      "The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again. ";
  static constexpr std::string_view head =
      "There is an important info hidden inside a lot of irrelevant text. Find it and memorize it.\n";
  static constexpr std::string_view tail = "\nWhat is the pass key? The pass key is";
  const Encoding plain{encoding.tokenizer};
  const auto size = [&](const std::string& text) { return static_cast<Index>(encode_text(plain, text).size()); };
  const Index per = size(std::string(fill));
  std::vector<PassKey> list;
  for (Index i = 0; i < count; ++i) {
    PassKey item;
    item.key = std::to_string(random.range(10000, 99999));
    const double wanted = random.uniform();
    const std::string needle = fmt::format("The pass key is {0}. Remember it. {0} is the pass key. ", item.key);
    const Index room = length - size(fmt::format("{}{}{}", head, needle, tail)) - 6;
    require<DataError>(room >= 0, "filler_passkeys: texts of {} tokens are asked for, expected at least {}", length,
                       length - room);
    const Index repeats = room / per;
    const auto before = static_cast<Index>(wanted * static_cast<double>(repeats));
    std::string text(head);
    for (Index n = 0; n < before; ++n) text += fill;
    const std::string begin = text;
    text += needle;
    for (Index n = before; n < repeats; ++n) text += fill;
    text += tail;
    EncodedPrompt prompt = encode_prompt(encoding, {text, " " + item.key});
    item.tokens = std::move(prompt.tokens);
    item.cut = prompt.cut;
    item.distance = size(text) - size(begin);
    item.depth = repeats > 0 ? static_cast<double>(before) / static_cast<double>(repeats) : 0;
    list.push_back(std::move(item));
  }
  return list;
}

/// Hides keys in prose: pieces of `haystack`, tokens of any text.  For each text `random` draws the key by
/// randrange(10000, 99999), the piece by randrange(len(haystack) - room), and the depth by randrange(int(room * 0.7)).
/// Harder than filler, where whatever is unusual is worth keeping.  Throws DataError for too short a haystack or text.
inline std::vector<PassKey> prose_passkeys(const Encoding& encoding, const std::vector<Index>& haystack, Index length,
                                           Index count, PythonRandom& random) {
  const Encoding plain{encoding.tokenizer};
  const auto head =
      encode_text(encoding, "There is an important info hidden inside a text. Find it and memorize it.\n");
  const auto tail = encode_text(plain, "\nWhat is the pass key? The pass key is");
  std::vector<PassKey> list;
  for (Index i = 0; i < count; ++i) {
    PassKey item;
    item.key = std::to_string(random.range(10000, 99999));
    const auto needle =
        encode_text(plain, fmt::format(" The pass key is {0}. Remember it. {0} is the pass key. ", item.key));
    const Index room = length - static_cast<Index>(head.size() + tail.size() + needle.size()) - 6 + encoding.bos;
    const auto places = static_cast<Index>(static_cast<double>(room) * 0.7);
    require<DataError>(places > 0, "prose_passkeys: texts of {} tokens are asked for, expected at least {}", length,
                       length - room + 2);
    require<DataError>(static_cast<Index>(haystack.size()) > room,
                       "prose_passkeys: the haystack holds {} tokens, expected more than {}", haystack.size(), room);
    const auto at = haystack.begin() + random.below(static_cast<Index>(haystack.size()) - room);
    const Index depth = random.below(places);
    std::vector<Index>& context = item.tokens.context;
    context = head;
    context.insert(context.end(), at, at + depth);
    context.insert(context.end(), needle.begin(), needle.end());
    context.insert(context.end(), at + depth, at + room);
    context.insert(context.end(), tail.begin(), tail.end());
    item.tokens.continuation = encode_text(plain, " " + item.key);
    item.distance = static_cast<Index>(context.size() - head.size()) - depth;
    item.depth = static_cast<double>(depth) / static_cast<double>(room);
    list.push_back(std::move(item));
  }
  return list;
}

}  // namespace lolcats
