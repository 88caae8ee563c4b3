// Text files to rows of tokens: the one entry for programs.
#pragma once

#include <lolcats/core/error.hpp>
#include <lolcats/core/fingerprint.hpp>
#include <lolcats/core/index.hpp>
#include <lolcats/core/parallel.hpp>
#include <lolcats/core/rng.hpp>
#include <lolcats/data/dataset.hpp>
#include <lolcats/data/packed_writer.hpp>
#include <lolcats/data/text_encoder.hpp>
#include <lolcats/data/text_file.hpp>
#include <lolcats/data/text_parts.hpp>
#include <lolcats/io/file.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace lolcats {

/// How texts become rows.
struct TextOptions {
  Index length = 1024;  // tokens per row
  DocumentBoundaries boundaries = DocumentBoundaries::Joined;
  EndOfText end_of_text = EndOfText::Automatic;
  /// Lays out chats and instructions.  None: chats by `model_template`, instructions as Alpaca has them.
  std::optional<ChatTemplate> chat_template = {};
  /// The model's own (chat_template_of_model).  None: as the tokenizer's special tokens say, unless `template_by_tokens`
  /// is off, as it should be for a model whose own template is not known; then chats are an error.
  std::optional<ChatTemplate> model_template = {};
  bool template_by_tokens = true;
  bool mask_prompts = false;                        // answers alone are supervised; documents are, as a whole
  bool line_documents = false;                      // each line of a plain text is a document
  std::optional<std::uint64_t> shuffle = {};        // seed: documents of all files in random order
  std::optional<std::filesystem::path> cache = {};  // folder for the tokens; none: they are kept in memory
};

/// How far the texts are.
struct TextProgress {
  std::string_view note = {};  // in words, if something is worth saying: which cache is read, or why none can be
  Index done = 0, total = 0;   // bytes of text
  Index tokens = 0;            // so far
  double seconds = 0;
};
using TextProgressCallback = std::function<void(const TextProgress&)>;

/// One line without its end: "text  12.0/1024.0 MB  3.1M tokens  8.2 MB/s".
inline std::string to_string(const TextProgress& p) {
  if (!p.note.empty()) return std::string(p.note);
  const double mb = 1e-6, rate = p.seconds > 0 ? mb * static_cast<double>(p.done) / p.seconds : 0;
  return fmt::format("text  {:.1f}/{:.1f} MB  {:.2f}M tokens  {:.1f} MB/s", mb * static_cast<double>(p.done),
                     mb * static_cast<double>(p.total), mb * static_cast<double>(p.tokens), rate);
}

namespace detail {

/// The files of a set, mapped, and what all rows depend on.
class TextSource {
 public:
  TextSource(const std::vector<std::filesystem::path>& paths, const Tokenizer& tokenizer, const TextOptions& options,
             TextProgressCallback progress)
      : tokenizer_(&tokenizer),
        options_(options),
        form_(options.chat_template        ? options.chat_template
              : options.model_template     ? options.model_template
              : options.template_by_tokens ? recognise_chat_template(tokenizer)
                                           : std::nullopt),
        encoder_(tokenizer, form_, options.end_of_text, options.mask_prompts),
        instruction_encoder_(tokenizer, options.chat_template, options.end_of_text, options.mask_prompts),
        progress_(std::move(progress)) {
    check_row_length("open_text", options.length);
    require<ConfigError>(!paths.empty(), "open_text: no files, expected at least one");
    for (const auto& path : paths) {
      const auto& file = files_.emplace_back(std::make_unique<MappedFile>(path));
      require_text(file->text(), file->name());
      kinds_.push_back(kind_of_text(path, file->text(), options.line_documents));
      total_ += static_cast<Index>(file->text().size());
    }
  }

  /// Of everything that the rows depend on: the bytes of the files, the tokenizer and the options.
  std::uint64_t identity() const {
    Fingerprint print;
    print.add("lolcats text 1");
    print.add(tokenizer_->fingerprint());
    for (const std::uint64_t value :
         {static_cast<std::uint64_t>(tokenizer_->vocab_size()), static_cast<std::uint64_t>(tokenizer_->adds_bos()),
          static_cast<std::uint64_t>(tokenizer_->bos().value_or(-1)),
          static_cast<std::uint64_t>(end_of_text(*tokenizer_).value_or(-1)),
          static_cast<std::uint64_t>(options_.length), static_cast<std::uint64_t>(options_.boundaries),
          static_cast<std::uint64_t>(options_.end_of_text), static_cast<std::uint64_t>(options_.mask_prompts),
          static_cast<std::uint64_t>(options_.shuffle.has_value()), options_.shuffle.value_or(0)})
      print.add(value);
    print.add(options_.chat_template ? options_.chat_template->name : "");
    print.add(form_ ? form_->name : "");
    for (std::size_t i = 0; i < files_.size(); ++i) {
      print.add(static_cast<std::uint64_t>(kinds_[i]));
      print.add(fingerprint_of_text(files_[i]->text()));
    }
    return print.value();
  }

  Index total() const { return total_; }
  std::string stem() const { return std::filesystem::path(files_[0]->name()).stem().string(); }
  void note(const std::string& text) const {
    if (progress_) progress_({.note = text, .total = total_});
  }

  /// Reads all texts and writes the rows to `sink`.
  PackedInfo write(std::uint64_t identity, PackedWriter::Sink sink) {
    start_ = std::chrono::steady_clock::now();
    done_ = tokens_ = 0;
    documents_ = skipped_ = 0;
    PackedInfo settings;
    settings.identity = identity;
    settings.length = static_cast<std::uint64_t>(options_.length);
    settings.masked = options_.mask_prompts;
    settings.separate = options_.boundaries == DocumentBoundaries::Separate;
    PackedWriter writer(settings, tokenizer_->vocab_size(), std::move(sink));
    std::vector<Part> parts;
    std::size_t bytes = 0;
    const auto flush = [&] {
      encode(parts, writer);
      parts.clear();
      bytes = 0;
    };
    for_each_record([&](std::size_t file, const RawRecord& record) {
      const std::vector<std::string_view> pieces =
          kinds_[file] == TextKind::Documents || kinds_[file] == TextKind::Lines
              ? parts_of_text(record.bytes, *tokenizer_, part_bytes, !options_.shuffle)
              : std::vector{record.bytes};
      for (std::size_t i = 0; i < pieces.size(); ++i) {
        parts.push_back({file, {pieces[i], record.line}, i == 0, i + 1 == pieces.size()});
        bytes += pieces[i].size();
        if (bytes >= batch_bytes || parts.size() >= batch_records) flush();
      }
    });
    flush();
    try {
      return writer.finish(documents_, skipped_, static_cast<std::uint64_t>(total_));
    } catch (const DataError& error) {
      fail<DataError>("{}{}: {}", files_[0]->name(),
                      files_.size() > 1 ? fmt::format(" and {} more files", files_.size() - 1) : "", error.what());
    }
  }

 private:
  static constexpr std::size_t part_bytes = std::size_t{1} << 18;  // of a long document
  static constexpr std::size_t batch_bytes = std::size_t{1} << 22, batch_records = 1 << 14;

  /// What one call of the tokenizer gets: a record, or a part of a document.
  struct Part {
    std::size_t file;
    RawRecord record;
    bool begins, ends;
  };

  static std::uint64_t fingerprint_of_text(std::string_view text) {
    constexpr std::size_t block = std::size_t{1} << 22;
    std::vector<std::uint64_t> prints((text.size() + block - 1) / block);
    parallel_for(static_cast<Index>(prints.size()), [&](Index i) {
      const auto k = static_cast<std::size_t>(i);
      const std::string_view bytes = text.substr(k * block, block);
      Fingerprint print;
      print.add(bytes);
      prints[k] = print.value();
      forget_pages(bytes);
    });
    Fingerprint print;
    for (const std::uint64_t value : prints) print.add(value);
    print.add(static_cast<std::uint64_t>(text.size()));
    return print.value();
  }

  template <class F>
  void for_each_record(const F& f) const {
    std::vector<std::pair<std::size_t, RawRecord>> all;  // to shuffle
    for (std::size_t i = 0; i < files_.size(); ++i) {
      RecordReader reader(files_[i]->text(), kinds_[i], files_[i]->name(), !options_.shuffle);
      while (const auto record = reader.next()) options_.shuffle ? all.push_back({i, *record}) : f(i, *record);
    }
    Rng rng(options_.shuffle.value_or(0), 0x7465787473);
    for (std::size_t left = all.size(); left > 1; --left) std::swap(all[left - 1], all[rng.below(left)]);
    for (const auto& [file, record] : all) f(file, record);
  }

  std::optional<Sample> sample_of(const Part& part) const {
    const TextKind kind = kinds_[part.file];
    const std::string where = fmt::format("{}:{}", files_[part.file]->name(), part.record.line);
    if (kind == TextKind::JsonLines || kind == TextKind::JsonArray) {
      const auto record = parse_record(part.record.bytes, where);  // names the place itself
      if (!record) return {};
      return with_place(where, [&] {
        return std::holds_alternative<Instruction>(*record) ? instruction_encoder_(*record) : encoder_(*record);
      });
    }
    return with_place(where, [&]() -> Sample {
      const std::string text = with_line_feeds(part.record.bytes);
      if (part.begins) return encoder_.document(text, true, part.ends);
      Sample sample = encoder_.document("\n" + text, false, part.ends);
      const auto line_feed = static_cast<std::ptrdiff_t>(tokenizer_->encode("\n", false).size());
      sample.tokens.erase(sample.tokens.begin(), sample.tokens.begin() + line_feed);
      if (!sample.labels.empty()) sample.labels.erase(sample.labels.begin(), sample.labels.begin() + line_feed);
      return sample;
    });
  }

  /// f(), whose errors are told with the place of the record.
  template <class F>
  static Sample with_place(const std::string& where, const F& f) {
    try {
      return f();
    } catch (const DataError& error) {
      fail<DataError>("{}: {}", where, error.what());
    } catch (const ConfigError& error) {
      fail<ConfigError>("{}: {}", where, error.what());
    }
  }

  void encode(const std::vector<Part>& parts, PackedWriter& writer) {
    std::vector<std::optional<Sample>> samples(parts.size());
    std::vector<std::exception_ptr> failures(parts.size());  // the first by place is thrown, on any number of threads
    constexpr Index grain = 16;
    const auto count = static_cast<Index>(parts.size());
    const bool large = count < 64 * grain;
    parallel_ranges(count, large ? 1 : grain, [&](Index begin, Index end) {
      for (auto i = static_cast<std::size_t>(begin); i < static_cast<std::size_t>(end); ++i) try {
          samples[i] = sample_of(parts[i]);
        } catch (...) {
          failures[i] = std::current_exception();
        }
    });
    for (std::size_t i = 0; i < parts.size(); ++i) {
      if (failures[i]) std::rethrow_exception(failures[i]);
      documents_ += samples[i] && parts[i].begins;
      skipped_ += !samples[i];
      done_ += static_cast<Index>(parts[i].record.bytes.size());
      if (samples[i]) {
        tokens_ += static_cast<Index>(samples[i]->tokens.size());
        writer.add(samples[i]->tokens, samples[i]->labels, parts[i].begins);
      }
      samples[i].reset();
    }
    // what is behind the last record has been read, too: pages that records share are forgotten with the next ones
    for (std::size_t first = 0, i = 0; !options_.shuffle && i < parts.size(); ++i) {
      if (i + 1 < parts.size() && parts[i + 1].file == parts[first].file) continue;
      const char *begin = parts[first].record.bytes.data(),
                 *end = parts[i].record.bytes.data() + parts[i].record.bytes.size();
      forget_pages({begin, static_cast<std::size_t>(end - begin)});
      first = i + 1;
    }
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start_;
    if (progress_) progress_({.done = done_, .total = total_, .tokens = tokens_, .seconds = seconds.count()});
  }

  const Tokenizer* tokenizer_;
  TextOptions options_;
  std::optional<ChatTemplate> form_;
  TextEncoder encoder_, instruction_encoder_;
  TextProgressCallback progress_;
  std::vector<std::unique_ptr<MappedFile>> files_;
  std::vector<TextKind> kinds_;
  Index total_ = 0, done_ = 0, tokens_ = 0;
  std::uint64_t documents_ = 0, skipped_ = 0;
  std::chrono::steady_clock::time_point start_;
};

/// Rows of a cache file, if it is there and was made of the same.  A file that is not is told of and made anew.
inline std::shared_ptr<const PackedRows> open_cached(const std::filesystem::path& path, std::uint64_t identity,
                                                     const TextSource& source) {
  if (!path_exists(path)) return {};
  try {
    auto file = std::make_shared<const MappedFile>(path);
    auto rows = std::make_shared<const PackedRows>(file->bytes(), file, file->name());
    if (rows->info().identity == identity) return rows;
    source.note(fmt::format("{}: was made of other texts; the tokens are made anew", path.string()));
  } catch (const Error& error) {
    source.note(fmt::format("{}; the tokens are made anew", error.what()));
  }
  return {};
}

}  // namespace detail

/// Where programs keep tokens unless told otherwise: $XDG_CACHE_HOME/lolcats, else ~/.cache/lolcats, else nowhere.
inline std::optional<std::filesystem::path> default_cache_folder() {
  const char* cache = std::getenv("XDG_CACHE_HOME");
  if (cache && cache[0] == '/') return std::filesystem::path(cache) / "lolcats";
  const char* home = std::getenv("HOME");
  if (home && home[0] == '/') return std::filesystem::path(home) / ".cache" / "lolcats";
  return {};
}

/// Rows of `options.length` tokens from text files: plain text, JSON lines and JSON arrays of documents, instructions
/// and chats, told apart by extension and content.  Documents stand one behind the other in the order of the files.
///
/// With `options.cache` the tokens are kept in a file of that folder, named by a fingerprint of the bytes of the texts,
/// the tokenizer and the options, and mapped from there; then memory is bounded whatever the size of the texts.  A cache
/// file that is damaged is made anew; one that cannot be written is done without.  Both are told to `progress`, which
/// is called from this thread after every few megabytes.
///
/// Errors: FileError, FormatError and DataError that name file and line; ConfigError for options that cannot be.  What
/// the tokenizer cannot spell is its DataError.
inline DataSet open_text(const std::vector<std::filesystem::path>& files, const Tokenizer& tokenizer,
                         const TextOptions& options = {}, const TextProgressCallback& progress = {}) {
  detail::TextSource source(files, tokenizer, options, progress);
  const std::uint64_t identity = source.identity();
  if (options.cache) {
    const auto path = *options.cache / fmt::format("{}-{:016x}.rows", source.stem().substr(0, 40), identity);
    if (auto rows = detail::open_cached(path, identity, source)) return DataSet(std::move(rows));
    try {
      create_folder(*options.cache);
      write_file_atomically(path, [&](FileWriter& file) {
        source.write(identity, [&](std::span<const std::byte> bytes) { file.write(bytes); });
      });
      if (auto rows = detail::open_cached(path, identity, source)) return DataSet(std::move(rows));
    } catch (const FileError& error) {
      source.note(fmt::format("{}; the tokens are kept in memory", error.what()));
    }
  }
  auto bytes = std::make_shared<std::vector<std::byte>>();
  source.write(identity,
               [&](std::span<const std::byte> more) { bytes->insert(bytes->end(), more.begin(), more.end()); });
  return DataSet(std::make_shared<const PackedRows>(std::span<const std::byte>(*bytes), bytes, "open_text"));
}

}  // namespace lolcats
