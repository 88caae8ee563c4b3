// The weights of a checkpoint by name, whatever files they lie in.
#pragma once

#include <lolcats/io/json.hpp>
#include <lolcats/io/llama_config.hpp>
#include <lolcats/io/safetensors.hpp>

#include <initializer_list>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace lolcats {

/// Named tensors from one or more files, which a model loader reads one by one; the store knows which were read.
///
/// Names are those of Hugging Face ("model.layers.0.self_attn.q_proj.weight"), also for other file formats.  Nothing is
/// loaded until it is read, and then borrowed from the mapping where possible (`load_stored`).  Not for concurrent use.
/// Errors name the file: FormatError for a missing or surplus tensor or an unfit dtype, ShapeError for another shape.
class TensorStore {
 public:
  TensorStore() = default;
  /// `name` is the file or folder that messages blame for a missing tensor.
  explicit TensorStore(std::string name) : name_(std::move(name)) {}
  /// All tensors of one file.
  explicit TensorStore(const Safetensors& file) : name_(file.name()) { add(file); }

  const std::string& name() const { return name_; }

  /// Adds a tensor of `file`, whose memory `owner` keeps alive.  Errors: FormatError if the name is taken.
  void add(TensorInfo info, const std::string& file, std::shared_ptr<const void> owner) {
    std::string key = info.name;
    add(std::move(key), std::move(info), file, std::move(owner));
  }
  /// The same under a name `key` that is not the file's own; messages say how the file calls it.
  void add(std::string key, TensorInfo info, const std::string& file, std::shared_ptr<const void> owner) {
    const auto [entry, fresh] = entries_.try_emplace(key, Entry{std::move(info), file, std::move(owner)});
    require<FormatError>(fresh, "{}: tensor '{}' is already in {}", file, shown(key), entry->second.file);
  }
  void add(const Safetensors& file) {
    for (const auto& [key, info] : file.tensors()) add(info, file.name(), file.owner());
  }

  std::vector<std::string> names() const {
    std::vector<std::string> list;
    for (const auto& [key, entry] : entries_) list.push_back(key);
    return list;
  }
  bool contains(std::string_view name) const { return entries_.contains(name); }
  const TensorInfo& info(std::string_view name) const { return at(name).info; }

  /// The tensor as T, in the shape it must have; counts as read.
  template <class T>
  Tensor<T> read(std::string_view name, const Shape& shape) {
    const Entry& entry = at(name);
    Tensor<T> tensor = load_stored<T>(entry.info, entry.file, entry.owner, shape);
    read_.emplace(name);
    return tensor;
  }
  /// The same in the shape it has.
  template <class T>
  Tensor<T> read(std::string_view name) {
    const Entry& entry = at(name);
    Tensor<T> tensor = load_stored<T>(entry.info, entry.file, entry.owner);
    read_.emplace(name);
    return tensor;
  }

  /// Throws FormatError listing the tensors that nobody read.
  ///
  /// Precomputed rotary frequencies (old checkpoints store them) may stay unread, and so may the names in
  /// `may_remain`, such as "lm_head.weight" where the embeddings are tied.
  void require_all_read(std::initializer_list<std::string_view> may_remain = {}) const {
    std::vector<std::string> surplus;
    for (const auto& [key, entry] : entries_) {
      if (read_.contains(key) || key.ends_with("rotary_emb.inv_freq")) continue;
      if (std::find(may_remain.begin(), may_remain.end(), key) != may_remain.end()) continue;
      surplus.push_back(fmt::format("'{}'", shown(key)));
    }
    if (surplus.empty()) return;
    const std::size_t listed = std::min<std::size_t>(surplus.size(), 8);
    const std::vector<std::string> first(surplus.begin(), surplus.begin() + static_cast<std::ptrdiff_t>(listed));
    fail<FormatError>("{}: {} tensors are in the file but not in the model: {}{}", name_, surplus.size(),
                      fmt::join(first, ", "), listed < surplus.size() ? ", ..." : "");
  }

 private:
  struct Entry {
    TensorInfo info;
    std::string file;
    std::shared_ptr<const void> owner;
  };

  const Entry& at(std::string_view name) const {
    const auto found = entries_.find(name);
    require<FormatError>(found != entries_.end(), "{}: tensor '{}' is missing", name_, name);
    return found->second;
  }

  std::string name_;
  std::map<std::string, Entry, std::less<>> entries_;
  std::set<std::string, std::less<>> read_;
};

/// A base model as it lies on disk: every reader of a checkpoint format returns this.
struct Checkpoint {
  LlamaConfig config;
  TensorStore weights;
};

}  // namespace lolcats
