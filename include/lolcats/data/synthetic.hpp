// A synthetic corpus of our own whose facts must be recalled exactly, with a known entropy for every token.
#pragma once

#include <lolcats/core/error.hpp>
#include <lolcats/core/index.hpp>
#include <lolcats/core/rng.hpp>
#include <lolcats/data/synthetic_words.hpp>

#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace lolcats {

/// How documents are made.  Lengths and distances count tokens.
struct SyntheticConfig {
  /// Tokens per document, BOS included.
  Index length = 512;
  /// A fact returns `shortest` to `longest` tokens after its value was last said.
  Index shortest = 10;
  Index longest = 400;
  /// Probability that a mention is a new fact rather than the return of a known one.
  double new_fact = 0.3;
};

/// The random process that writes documents: an automaton that knows the exact distribution of its next token.
///
///   sentence  =  [opener] person verb object { "and" object } [ "in" place ] [closer] "."
///
/// A person, place or item is a fact: a key and, right behind it, its value ("lena moro", "kobe nada", "rope 17").  A
/// value is drawn uniformly when its key is new, and is fixed from then on within the document.  A mention is new with
/// probability `new_fact`; otherwise its key is uniform over the known keys of its kind whose value was last said
/// `shortest` to `longest` tokens ago (it is new for sure if there is none, and known for sure if no key is left).  The
/// state is a function of the past tokens, so the probabilities given here are those of the next token given all of the
/// past: nothing is hidden, and their entropy is the corpus' entropy.
class SyntheticProcess {
 public:
  struct Choice {
    Index token = 0;
    double probability = 0;
  };

  SyntheticProcess(const SyntheticVocabulary& vocabulary, const SyntheticConfig& config) : config_(config) {
    require<ConfigError>(config.length >= 2 && config.shortest >= 1 && config.longest >= config.shortest,
                         "SyntheticProcess: length {}, shortest {}, longest {}; expected length >= 2 and "
                         "1 <= shortest <= longest",
                         config.length, config.shortest, config.longest);
    require<ConfigError>(config.new_fact >= 0 && config.new_fact <= 1,
                         "SyntheticProcess: new_fact is {}, expected a probability", config.new_fact);
    const auto ids = [&](std::span<const std::string_view> words) {
      std::vector<Index> list;
      for (const std::string_view word : words) list.push_back(vocabulary.id(word));
      return list;
    };
    for (int k = 0; k < fact_kinds; ++k) {
      Memory& memory = memories_[static_cast<std::size_t>(k)];
      memory.keys = ids(synthetic::keys_of(static_cast<FactKind>(k)));
      memory.values = ids(synthetic::values_of(static_cast<FactKind>(k)));
      memory.value.assign(memory.keys.size(), unknown);
      memory.said.assign(memory.keys.size(), 0);
    }
    openers_ = ids(synthetic::openers);
    verbs_ = ids(synthetic::verbs);
    closers_ = ids(synthetic::closers);
    and_ = vocabulary.id("and");
    in_ = vocabulary.id("in");
    stop_ = vocabulary.id(".");
    choose();
  }

  /// The distribution of the next token given all tokens so far; probabilities are positive and add up to one.
  const std::vector<Choice>& choices() const { return choices_; }

  /// If the next token is a fact's value that was said before: how many tokens ago.  Otherwise 0.
  Index distance() const { return distance_; }

  /// Moves on by one token; throws DataError if the process cannot say it here.
  void advance(Index token) {
    bool possible = false;
    for (const Choice& choice : choices_) possible = possible || choice.token == token;
    require<DataError>(possible, "SyntheticProcess: token {} cannot stand at position {}", token, position_);
    follow(token);
    ++position_;
    choose();
  }

 private:
  enum class Slot { Sentence, Subject, Value, Verb, Object, Conjunction, Location, Closer, Stop };

  /// The facts of one kind: which value a key has, and where that was last said.
  struct Memory {
    std::vector<Index> keys, values;
    std::vector<Index> value;  // of each key; `unknown` before it is first said
    std::vector<Index> said;   // position of the key's last value
  };
  static constexpr Index unknown = -1;

  Memory& memory() { return memories_[static_cast<std::size_t>(kind_)]; }

  static std::size_t index_of(const std::vector<Index>& list, Index token) {
    std::size_t i = 0;
    while (i < list.size() && list[i] != token) ++i;
    return i;
  }

  /// The grammar: what follows a token.
  void follow(Index token) {
    switch (slot_) {
      case Slot::Sentence:
        if (index_of(openers_, token) < openers_.size()) {
          slot_ = Slot::Subject;
          return;
        }
        [[fallthrough]];
      case Slot::Subject:
      case Slot::Object:
      case Slot::Location:
        role_ = slot_ == Slot::Sentence ? Slot::Subject : slot_;
        key_ = index_of(memory().keys, token);
        slot_ = Slot::Value;
        return;
      case Slot::Value:
        memory().value[key_] = token;
        memory().said[key_] = position_;
        slot_ = role_ == Slot::Subject ? Slot::Verb : role_ == Slot::Object ? Slot::Conjunction : Slot::Closer;
        return;
      case Slot::Verb:
        // verbs come in pairs, one pair for each kind of object
        kind_ = static_cast<FactKind>(index_of(verbs_, token) / 2);
        slot_ = Slot::Object;
        return;
      case Slot::Conjunction:
        if (token == and_) {
          slot_ = Slot::Object;
          return;
        }
        if (token == in_) {
          kind_ = FactKind::Place;
          slot_ = Slot::Location;
          return;
        }
        [[fallthrough]];
      case Slot::Closer: slot_ = token == stop_ ? Slot::Sentence : Slot::Stop; break;
      case Slot::Stop: slot_ = Slot::Sentence; break;
    }
    if (slot_ == Slot::Sentence) kind_ = FactKind::Person;
  }

  /// The probabilities of the grammar.
  void choose() {
    choices_.clear();
    distance_ = 0;
    switch (slot_) {
      case Slot::Sentence:
        add_evenly(openers_, 0.4);
        add_keys(0.6);
        return;
      case Slot::Subject:
      case Slot::Object:
      case Slot::Location: add_keys(1); return;
      case Slot::Value: add_value(); return;
      case Slot::Verb: add_evenly(verbs_, 1); return;
      case Slot::Conjunction: {
        const bool place = kind_ == FactKind::Place;
        choices_.push_back({and_, 0.35});
        if (!place) choices_.push_back({in_, 0.2});
        add_evenly(closers_, 0.15);
        choices_.push_back({stop_, place ? 0.5 : 0.3});
        return;
      }
      case Slot::Closer:
        add_evenly(closers_, 0.15);
        choices_.push_back({stop_, 0.85});
        return;
      case Slot::Stop: choices_.push_back({stop_, 1}); return;
    }
  }

  void add_evenly(const std::vector<Index>& tokens, double mass) {
    for (const Index token : tokens) choices_.push_back({token, mass / static_cast<double>(tokens.size())});
  }

  void add_keys(double mass) {
    const Memory& facts = memory();
    std::vector<Index> fresh, due, known;
    for (std::size_t i = 0; i < facts.keys.size(); ++i) {
      if (facts.value[i] == unknown) {
        fresh.push_back(facts.keys[i]);
        continue;
      }
      const Index distance = position_ + 1 - facts.said[i];  // of the value, which follows the key
      known.push_back(facts.keys[i]);
      if (distance >= config_.shortest && distance <= config_.longest) due.push_back(facts.keys[i]);
    }
    if (due.empty() && fresh.empty()) {
      add_evenly(known, mass);
      return;
    }
    const double share = due.empty() ? 1.0 : fresh.empty() ? 0.0 : config_.new_fact;
    if (share > 0) add_evenly(fresh, mass * share);
    if (share < 1) add_evenly(due, mass * (1 - share));
  }

  void add_value() {
    const Memory& facts = memory();
    if (facts.value[key_] == unknown) {
      add_evenly(facts.values, 1);
      return;
    }
    choices_.push_back({facts.value[key_], 1});
    distance_ = position_ - facts.said[key_];
  }

  SyntheticConfig config_;
  std::array<Memory, fact_kinds> memories_;
  std::vector<Index> openers_, verbs_, closers_;
  Index and_ = 0, in_ = 0, stop_ = 0;
  std::vector<Choice> choices_;
  Index distance_ = 0;
  Index position_ = 1;  // BOS stands at 0
  Slot slot_ = Slot::Sentence;
  Slot role_ = Slot::Subject;
  FactKind kind_ = FactKind::Person;
  std::size_t key_ = 0;
};

/// A document and what is known about each of its tokens.  All four have the document's length; entry 0 belongs to BOS,
/// which is certain.
struct SyntheticDocument {
  std::vector<Index> tokens;
  /// ln p(token | past), in nats.
  std::vector<double> log_probability;
  /// The entropy of p(. | past), in nats: the least mean loss that any model can reach.
  std::vector<double> entropy;
  /// For a recall, the tokens since the fact's value was last said; otherwise 0.
  std::vector<Index> distance;
};

/// A token that the past determines, and how far back it was last said.
struct RecallTarget {
  Index position = 0;  // of the token to predict
  Index distance = 0;
};

/// Makes and reads documents.
class SyntheticCorpus {
 public:
  explicit SyntheticCorpus(SyntheticConfig config = {}) : config_(config) { SyntheticProcess(vocabulary_, config_); }

  const SyntheticConfig& config() const { return config_; }
  const SyntheticVocabulary& vocabulary() const { return vocabulary_; }

  /// Document `index` of the corpus `seed`; a pure function of the two and of the configuration.
  SyntheticDocument document(std::uint64_t seed, std::uint64_t index) const {
    Rng rng(seed, index);
    return walk(config_.length, [&](Index, const SyntheticProcess& process) {
      const double u = rng.uniform();
      double below = 0;
      for (const auto& choice : process.choices()) {
        below += choice.probability;
        if (u < below) return choice.token;
      }
      return process.choices().back().token;
    });
  }

  /// What is known about the tokens of a document of this corpus: BOS first, then at most the configured length.
  /// Throws DataError for tokens that the process cannot have written.
  SyntheticDocument annotate(std::span<const Index> tokens) const {
    require<DataError>(!tokens.empty() && tokens[0] == SyntheticVocabulary::bos,
                       "SyntheticCorpus::annotate: the document does not start with BOS ({})",
                       SyntheticVocabulary::bos);
    return walk(static_cast<Index>(tokens.size()),
                [&](Index position, const SyntheticProcess&) { return tokens[static_cast<std::size_t>(position)]; });
  }

  /// The document as text; the synthetic tokenizer encodes it back to the same tokens.
  std::string text(std::span<const Index> tokens) const {
    std::string text;
    for (const Index token : tokens) {
      require<DataError>(token >= 0 && token < vocabulary_.size(), "SyntheticCorpus::text: token {} of {}", token,
                         vocabulary_.size());
      if (token > SyntheticVocabulary::eos) text += vocabulary_.pieces()[static_cast<std::size_t>(token)];
    }
    return text.starts_with(' ') ? text.substr(1) : text;
  }

 private:
  template <class Next>
  SyntheticDocument walk(Index length, Next&& next) const {
    SyntheticProcess process(vocabulary_, config_);
    SyntheticDocument document;
    document.tokens = {SyntheticVocabulary::bos};
    document.log_probability = document.entropy = {0};
    document.distance = {0};
    for (Index position = 1; position < length; ++position) {
      const Index token = next(position, process);
      double entropy = 0, log_probability = 0;
      for (const auto& choice : process.choices()) {
        entropy -= choice.probability * std::log(choice.probability);
        if (choice.token == token) log_probability = std::log(choice.probability);
      }
      document.tokens.push_back(token);
      document.log_probability.push_back(log_probability);
      document.entropy.push_back(entropy);
      document.distance.push_back(process.distance());
      process.advance(token);
    }
    return document;
  }

  SyntheticConfig config_;
  SyntheticVocabulary vocabulary_;
};

/// The tokens of a document that must be recalled, in order.
inline std::vector<RecallTarget> recall_targets(const SyntheticDocument& document) {
  std::vector<RecallTarget> targets;
  for (std::size_t i = 0; i < document.distance.size(); ++i)
    if (document.distance[i] > 0) targets.push_back({static_cast<Index>(i), document.distance[i]});
  return targets;
}

}  // namespace lolcats
