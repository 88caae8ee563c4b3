// A model without its adapters, for a while.
#pragma once

namespace lolcats {

/// While alive, a model's adapters are off; afterwards they are what they were.  Throws Error while they are merged.
template <class Model>
class WithoutAdapters {
 public:
  explicit WithoutAdapters(Model& model) : model_(model), before_(model.uses_adapters()) { model_.use_adapters(false); }
  WithoutAdapters(const WithoutAdapters&) = delete;
  WithoutAdapters& operator=(const WithoutAdapters&) = delete;
  ~WithoutAdapters() { model_.use_adapters(before_); }

 private:
  Model& model_;
  bool before_;
};

}  // namespace lolcats
