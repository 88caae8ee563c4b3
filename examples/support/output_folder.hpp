// A folder that a run of hours writes into: tried before any work, locked while it runs, finished once.
#pragma once

#include <lolcats/core/error.hpp>
#include <lolcats/io/file.hpp>
#include <lolcats/io/folder_lock.hpp>

#include <filesystem>
#include <initializer_list>
#include <string_view>

namespace examples {

/// Locked while it lives (io/folder_lock.hpp).
class OutputFolder {
 public:
  /// Creates the folder, takes the lock, and removes what killed processes left half written there and one folder further
  /// down.  A folder that holds one of
  /// `results`, but no `*.state*`, is finished: it is refused unless `replace`.
  /// Errors: ConfigError naming who holds the lock, and for a finished folder; FileError.
  OutputFolder(const std::filesystem::path& folder, std::initializer_list<std::string_view> results, bool replace)
      : folder_(folder), lock_(created(folder)) {
    lolcats::remove_temporaries(folder);
    for (const auto& entry : std::filesystem::directory_iterator(folder)) {  // an adapter has a folder of its own
      if (entry.is_directory()) lolcats::remove_temporaries(entry.path());
    }
    for (const std::string_view result : results) {
      lolcats::require<lolcats::ConfigError>(replace || !lolcats::path_exists(folder / result) || has_states(),
                                             "{} holds the {} of a finished run; name another folder, or replace it with --replace",
                                             folder.string(), result);
    }
  }

  /// Removes the states of training runs: the last thing of all, for without them the work begins anew.
  void finish() const {
    for (const auto& entry : std::filesystem::directory_iterator(folder_)) {
      if (is_state(entry)) std::filesystem::remove(entry.path());
    }
  }

 private:
  static const std::filesystem::path& created(const std::filesystem::path& folder) {
    lolcats::create_folder(folder);
    return folder;
  }

  /// NAME.state, and of block-wise transfer NAME.state.block2.
  static bool is_state(const std::filesystem::directory_entry& entry) {
    return entry.path().filename().string().find(".state") != std::string::npos;
  }
  bool has_states() const {
    for (const auto& entry : std::filesystem::directory_iterator(folder_)) {
      if (is_state(entry)) return true;
    }
    return false;
  }

  std::filesystem::path folder_;
  lolcats::FolderLock lock_;
};

}  // namespace examples
