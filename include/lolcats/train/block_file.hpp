// A finished block of stage 1 on disk: what its layers learned, and what it was made from.
#pragma once

#include <lolcats/io/safetensors.hpp>
#include <lolcats/io/safetensors_writer.hpp>
#include <lolcats/model/load.hpp>
#include <lolcats/train/batch_order.hpp>
#include <lolcats/train/resume.hpp>

#include <algorithm>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace lolcats {

/// FOLDER/3/block.safetensors; while block 3 is trained, its folder is locked, and its state lies there.
inline std::filesystem::path block_file(const std::filesystem::path& folder, Index block) {
  return folder / fmt::format("{}", block) / "block.safetensors";
}

/// What a finished block must agree with: its inputs and every field of the recipe that decides numbers or the length.
template <class R>
RunIdentity block_identity(const R& recipe, Index rows, const RunIdentity& inputs) {
  RunIdentity identity = inputs;
  const Index updates = planned_updates(recipe, rows);
  describe_fields(recipe, updates, [&](std::string_view name, std::string text) { identity.emplace(name, std::move(text)); });
  identity["updates"] = fmt::format("{}", updates);
  identity["patience"] = fmt::format("{}", recipe.patience);
  return identity;
}

namespace detail {
inline constexpr const char* block_format = "lolcats block 1";
}

/// What `load_block` found.
template <Backend B>
struct FinishedBlock {
  std::vector<Parameter<B>> values;   // of the parameters that were asked for
  std::vector<double> mse_per_layer;  // on the validation data; empty where there was none

  /// Gives them to the parameters.
  void move_to(const Parameters<B>& parameters) {
    for (std::size_t i = 0; i < parameters.size(); ++i) *parameters[i].parameter = std::move(values[i]);
  }
};

/// Writes parameters by their names in Scalar, `mse` in F64, and the identity as metadata `run.FIELD`, whole or not at all.
/// Errors: FileError.
template <Backend B>
void save_block(const std::filesystem::path& file, const RunIdentity& identity, const B& backend, const Parameters<B>& parameters,
                const std::vector<double>& mse_per_layer) {
  std::vector<Tensor<Scalar<B>>> copies;  // what NamedTensor borrows and does not lie in the model
  std::vector<NamedTensor> tensors;
  for (const auto& [name, parameter] : parameters) {
    tensors.emplace_back(name, detail::on_host(backend, *parameter, copies.emplace_back()));
  }
  tensors.emplace_back("mse", View<const double>(mse_per_layer.data(), Shape{static_cast<Index>(mse_per_layer.size())}));
  std::map<std::string, std::string> metadata{{"format", detail::block_format}};
  for (const auto& [field, text] : identity) metadata["run." + field] = text;
  write_safetensors(file, tensors, metadata);
}

/// Reads what `save_block` wrote on any backend.
/// Errors: ConfigError naming file, field, got and expected for a block that was made from something else; FormatError,
/// ShapeError, FileError.
template <Backend B>
FinishedBlock<B> load_block(const std::filesystem::path& path, const RunIdentity& identity, const B& backend,
                            const Parameters<B>& parameters) {
  const Safetensors file(path);
  const std::string& format = detail::SavedFields(file).text("format");
  require<FormatError>(format == detail::block_format, "{}: format is '{:.80}', expected '{}'", file.name(), format, detail::block_format);
  detail::check_identity(file, identity);
  FinishedBlock<B> block;
  for (const auto& [name, parameter] : parameters) {
    block.values.push_back(detail::to_backend(backend, file.read<Scalar<B>>(name, parameter->shape())));
  }
  require<FormatError>(file.tensors().size() == parameters.size() + 1, "{}: holds {} tensors, expected the {} of its layers and 'mse'",
                       file.name(), file.tensors().size(), parameters.size());
  const Tensor<double> mse = file.read<double>("mse");
  block.mse_per_layer.assign(mse.span().begin(), mse.span().end());
  return block;
}

}  // namespace lolcats
