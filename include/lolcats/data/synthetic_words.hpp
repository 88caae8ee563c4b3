// The closed vocabulary of the synthetic corpus, as pieces and scores of a llama2.c tokenizer.
#pragma once

#include <lolcats/core/error.hpp>
#include <lolcats/core/index.hpp>

#include <array>
#include <cstddef>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace lolcats {

/// What a fact is about.  A fact is a key followed at once by its value: "lena moro", "kobe nada", "rope 17".
enum class FactKind { Person, Place, Item };
inline constexpr int fact_kinds = 3;

namespace synthetic {

inline constexpr std::array<std::string_view, 28> first_names{
    "mila", "nora", "rosa", "sara", "mara", "dina", "mina", "lola", "lara", "kira", "mona", "milo", "vito", "sami",
    "remi", "lina", "nela", "rina", "lori", "mari", "nadi", "sila", "lisa", "nola", "lena", "rita", "pita", "mika"};
inline constexpr std::array<std::string_view, 28> family_names{
    "sato", "bono", "dale", "sabo", "roda", "tola", "lito", "mase", "rodi", "vale", "role", "koda", "bodi", "kole",
    "sano", "lano", "masi", "riva", "rivo", "neri", "nero", "nemo", "lamo", "moro", "mori", "sida", "sima", "kobo"};
inline constexpr std::array<std::string_view, 16> towns{"roma", "nara", "bara", "nami", "lima", "pisa", "bari", "male",
                                                        "sana", "sari", "lome", "vila", "kobe", "kona", "dili", "reno"};
inline constexpr std::array<std::string_view, 12> lands{"nova", "mali", "bora", "dara", "rona", "kina",
                                                        "nada", "peru", "meda", "tora", "togo", "bali"};
inline constexpr std::array<std::string_view, 16> items{"robe", "rope", "rose", "rode", "vase", "nose", "note", "kite",
                                                        "kilo", "date", "mate", "mane", "bone", "vine", "mine", "pine"};
inline constexpr std::array<std::string_view, 20> prices{"10", "11", "12", "13", "14", "15", "16", "17", "18", "19",
                                                         "20", "21", "22", "23", "24", "25", "26", "27", "28", "29"};
inline constexpr std::array<std::string_view, 4> openers{"now", "later", "today", "soon"};
inline constexpr std::array<std::string_view, 6> verbs{"met", "saw", "left", "likes", "has", "sold"};
inline constexpr std::array<std::string_view, 3> closers{"late", "too", "alone"};

/// The words that can be the key, or the value, of a kind of fact.
inline std::span<const std::string_view> keys_of(FactKind kind) {
  switch (kind) {
    case FactKind::Person: return first_names;
    case FactKind::Place: return towns;
    case FactKind::Item: return items;
  }
  fail<DataError>("keys_of: unknown FactKind {}", static_cast<int>(kind));
}
inline std::span<const std::string_view> values_of(FactKind kind) {
  switch (kind) {
    case FactKind::Person: return family_names;
    case FactKind::Place: return lands;
    case FactKind::Item: return prices;
  }
  fail<DataError>("values_of: unknown FactKind {}", static_cast<int>(kind));
}

}  // namespace synthetic

/// Pieces, scores and ids.
///
/// Ids follow llama2.c: 0 unknown, 1 BOS, 2 EOS, 3 + b for the byte b, then our pieces.  Every word is one piece
/// " word"; so that the greedy merges of llama2.c reach it, words are spelled in open syllables (consonant, vowel) and
/// the vocabulary holds every syllable and every prefix of a word that ends with a syllable or a letter.
/// Syllables cannot overlap, so no merge can go astray.
class SyntheticVocabulary {
 public:
  static constexpr Index bos = 1;
  static constexpr Index eos = 2;

  SyntheticVocabulary() {
    add("<unk>", 0);
    add("\n<s>\n", 0);
    add("\n</s>\n", 0);
    for (int byte = 0; byte < 256; ++byte) add(fmt::format("<0x{:02X}>", byte), 0);
    const std::vector<std::string_view> words = all_words();
    std::set<std::string> letters{" ", "."}, syllables, prefixes;
    for (const std::string_view word : words) {
      for (const char letter : word) letters.insert(std::string(1, letter));
      if (word.size() == 4 && is_syllable(word.substr(0, 2)) && is_syllable(word.substr(2)))
        syllables.insert({std::string(word.substr(0, 2)), std::string(word.substr(2))});
    }
    for (const std::string_view word : words) {
      std::string prefix = " ";
      for (std::size_t i = 0; i < word.size();) {
        const bool syllable = syllables.contains(std::string(word.substr(i, 2)));
        prefix += word.substr(i, syllable ? 2 : 1);
        i += syllable ? 2 : 1;
        prefixes.insert(prefix);
      }
    }
    for (const std::string& piece : letters) add(piece, -3);
    for (const std::string& piece : syllables) add(piece, -1);
    for (const std::string& piece : prefixes) add(piece, -2);
  }

  const std::vector<std::string>& pieces() const { return pieces_; }
  const std::vector<float>& scores() const { return scores_; }
  Index size() const { return static_cast<Index>(pieces_.size()); }

  /// The id of a word (written without its leading space) or of ".".
  Index id(std::string_view word) const {
    const auto found = ids_.find(word == "." ? std::string(word) : " " + std::string(word));
    require<DataError>(found != ids_.end(), "SyntheticVocabulary: no word '{}'", word);
    return found->second;
  }

  /// Every word of the corpus; "." is the only other piece that its documents use.
  static std::vector<std::string_view> all_words() {
    using namespace std::string_view_literals;
    std::vector<std::string_view> words{"and"sv, "in"sv};
    for (const std::span<const std::string_view> list :
         {std::span<const std::string_view>(synthetic::first_names),
          std::span<const std::string_view>(synthetic::family_names),
          std::span<const std::string_view>(synthetic::towns), std::span<const std::string_view>(synthetic::lands),
          std::span<const std::string_view>(synthetic::items), std::span<const std::string_view>(synthetic::prices),
          std::span<const std::string_view>(synthetic::openers), std::span<const std::string_view>(synthetic::verbs),
          std::span<const std::string_view>(synthetic::closers)})
      words.insert(words.end(), list.begin(), list.end());
    return words;
  }

 private:
  static bool is_syllable(std::string_view text) {
    constexpr std::string_view vowels = "aeiou";
    const bool letters = text[0] >= 'a' && text[0] <= 'z';
    return letters && vowels.find(text[0]) == vowels.npos && vowels.find(text[1]) != vowels.npos;
  }

  void add(std::string piece, float score) {
    ids_.emplace(piece, static_cast<Index>(pieces_.size()));
    pieces_.push_back(std::move(piece));
    scores_.push_back(score);
  }

  std::vector<std::string> pieces_;
  std::vector<float> scores_;
  std::unordered_map<std::string, Index> ids_;
};

}  // namespace lolcats
