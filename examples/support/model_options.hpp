// Options of programs that use a model as it is: a softmax model, or what linearize made of it.
//
// `app` is a CLI::App; see options.hpp.
#pragma once

#include "../models/any_model.hpp"
#include "options.hpp"

#include <lolcats/io/method.hpp>
#include <lolcats/model/zoo.hpp>
#include <lolcats/tokenizer/open.hpp>

#include <memory>
#include <optional>
#include <string>

namespace examples {

/// A model with its tokenizer.
struct LoadedModel {
  std::unique_ptr<AnyModel> model;
  std::unique_ptr<lolcats::Tokenizer> tokenizer;
};

/// Which model, and how its texts begin.
struct ModelOptions {
  std::string model, tokenizer, checkpoint, student, adapter;
  bool no_bos = false;
  std::optional<Index> cache_places;

  void add_model_to(auto& app) {
    app.add_option("--model", model, "Hugging Face folder, .gguf, .safetensors or llama2.c .bin file (default: the one the checkpoint names, or the built-in teacher)");
    app.add_option("--checkpoint", checkpoint, "folder that linearize wrote (default: the softmax model itself)");
    app.add_option("--student", student, "an attention to put in the place of the model's without training, by its name in `linearize --list-students`; with --checkpoint, its student with a cache");
    app.add_option("--cache-places", cache_places, "keys that each key/value head keeps, of a student with a cache (default: all that its type allows)");
    app.add_option("--adapter", adapter, "folder of a LoRA adapter of peft that is merged into the model first");
    app.add_option("--tokenizer", tokenizer, "tokenizer.json, tokenizer.model, .gguf, llama2.c tokenizer.bin, or a folder (default: the model's own)");
    app.add_flag("--no-bos", no_bos, "no begin-of-sequence token, whatever the tokenizer says");
  }

  /// Does a text begin with BOS?
  bool bos(const lolcats::Tokenizer& t) const { return !no_bos && t.adds_bos(); }

  /// Loads what the options name, and fills in those that were left to their defaults.
  /// Errors: those of the readers; ConfigError for options that exclude each other.
  LoadedModel load() {
    using lolcats::require;
    std::string made, trained_with;
    if (!checkpoint.empty()) {
      require<lolcats::ConfigError>(adapter.empty(), "--checkpoint has an adapter of its own: leave out --adapter");
      const auto recipe = lolcats::stored_recipe(checkpoint);
      const auto text = [&](const char* key) { return recipe.contains(key) && recipe[key].is_string() ? recipe[key].get<std::string>() : ""; };
      made = text("student");
      require<lolcats::FormatError>(!made.empty() && !text("base_model").empty(), "{}: lolcats.json names no student and base_model, as linearize writes them", checkpoint);
      trained_with = text("tokenizer_fingerprint");
      if (model.empty()) {
        model = text("base_model");
        if (tokenizer.empty()) tokenizer = text("tokenizer");
      }
    }
    if (cache_places) require_places(student.empty() ? made : student);
    default_to_built_in(model, tokenizer);
    LoadedModel loaded{load_teacher(model), lolcats::open_tokenizer(tokenizer)};
    lolcats::check_tokenizer(*loaded.tokenizer, tokenizer, loaded.model->config().vocab_size, model);
    if (!trained_with.empty()) {
      const std::string got = tokenizer_fingerprint(*loaded.tokenizer);
      require<lolcats::ConfigError>(got == trained_with, "{}: was trained with a tokenizer of fingerprint {}, but {} has {}; name that one with --tokenizer",
                                    checkpoint, trained_with, tokenizer, got);
    }
    if (!adapter.empty()) loaded.model->merge_adapter(adapter);
    if (!checkpoint.empty()) loaded.model = load_student(student.empty() ? made : student, *loaded.model, checkpoint);
    else if (!student.empty()) loaded.model = make_student(student, *loaded.model, 0);
    if (cache_places) loaded.model->set_cache_places(*cache_places);
    return loaded;
  }

 private:
  /// Are there so many places in a cache of this student (empty: the softmax model)?
  void require_places(const std::string& name) const {
    using lolcats::require;
    Index most = 0;
    if (!name.empty()) lolcats::visit_student(name, [&](auto entry) { most = lolcats::cache_places<typename decltype(entry)::Attention>; });
    require<lolcats::ConfigError>(most > 0, "--cache-places is {}, but {} has no cache; --student names one that has", *cache_places,
                                  name.empty() ? "softmax" : "student " + name);
    require<lolcats::ConfigError>(*cache_places >= 0 && *cache_places <= most, "--cache-places is {}, expected 0 to {}, which student {} has room for",
                                  *cache_places, most, name);
  }
};

}  // namespace examples
