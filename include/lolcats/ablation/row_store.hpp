// Where a study keeps what it has found out: the interface that ablate sees.
#pragma once

#include <lolcats/ablation/row.hpp>

#include <filesystem>
#include <optional>
#include <string>

namespace lolcats {

/// Where finished rows and half-finished trainings are kept, so that a stopped study goes on where it was; see
/// ablation/row_folder.hpp.
class RowStore {
 public:
  virtual ~RowStore() = default;
  /// The finished row of the same group, variant, seed and recipe, if there is one.
  virtual std::optional<AblationRow> find(const AblationRow& asked) = 0;
  /// Keeps a finished row, whole or not at all.
  virtual void keep(const AblationRow& row) = 0;
  /// The file for the state of a training run of `updates` updates.  If there is none, but one of a shorter run with
  /// the same key, it starts as a copy of that: no update is computed twice.  Empty: no state is kept.
  virtual std::filesystem::path state(const std::string& key, Index updates) = 0;
};

}  // namespace lolcats
