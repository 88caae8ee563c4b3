#include <lolcats/io/method.hpp>

#include "published_names.hpp"
#include "support.hpp"

using namespace lolcats;
using namespace io_test;
using nlohmann::json;

namespace {

const std::string hedgehog = "Hybrid<Hedgehog<4>, Terraced<16>>", t2r = "Linear<T2R<8>>";

void write_sample(const std::filesystem::path& folder, const std::string& method) {
  Tensor<float> layer(Shape{2, 8, 4}), factors(Shape{1, 2, 1, 1});
  for (Index i = 0; i < layer.size(); ++i) layer.data()[i] = static_cast<float>(i);
  factors.data()[0] = -1, factors.data()[1] = 2;
  write_method(
      folder, method,
      {{feature_map_name(0, 'q'), layer}, {feature_map_name(0, 'k'), layer}, {window_factors_name(0), factors}},
      {{"learning_rate", 0.01}, {"steps", {200, 300}}});
}

}  // namespace

TEST_CASE("a written method is read back") {
  const TemporaryFolder folder;
  write_sample(folder / "out", hedgehog);
  CHECK(stored_method(folder / "out") == hedgehog);
  MethodCheckpoint checkpoint = read_method(folder / "out", hedgehog);
  CHECK(checkpoint.method == hedgehog);
  CHECK(checkpoint.recipe == json{{"learning_rate", 0.01}, {"steps", {200, 300}}});
  CHECK(checkpoint.maps.read<float>(feature_map_name(0, 'q'), {2, 8, 4}).data()[63] == 63);
  CHECK(checkpoint.maps.read<float>(window_factors_name(0), {1, 2, 1, 1}).data()[1] == 2);
  check_throws<FormatError>([&] { checkpoint.maps.require_all_read(); }, {"lolcats.safetensors", "feature_map_k"});
  check_throws<ShapeError>(
      [&] {
        checkpoint.maps.read<float>(feature_map_name(0, 'k'), {2, 8, 8});
      },
      {"lolcats.safetensors", feature_map_name(0, 'k'), "has shape (2, 8, 4), expected (2, 8, 8)"});
  check_throws<FormatError>(
      [&] {
        checkpoint.maps.read<float>(feature_map_bias_name(0, 'k'), {2, 4});
      },
      {"lolcats.safetensors", "mlp.bias' is missing"});
  const json written = json::parse(get(folder / "out" / "lolcats.json"));
  CHECK(written["format"] == "lolcats");
  CHECK(written["version"] == 1);
}

TEST_CASE("a checkpoint of another method is refused with both names") {
  const TemporaryFolder folder;
  write_sample(folder, hedgehog);
  check_throws<ConfigError>([&] { read_method(folder, t2r); }, {"lolcats.json: checkpoint of another method",
                                                                "'method' is '" + hedgehog, "expected '" + t2r});
  // Interrupted between the two files: the tensors are of the new method, the json of the old.
  const std::string old = get(folder / "lolcats.json");
  write_sample(folder, t2r);
  put(folder / "lolcats.json", old);
  check_throws<ConfigError>([&] { read_method(folder, hedgehog); },
                            {"lolcats.safetensors: checkpoint of another method", t2r, hedgehog});
}

TEST_CASE("another format or version, and missing parts") {
  const TemporaryFolder folder;
  check_throws<FileError>([&] { stored_method(folder); }, {"lolcats.json", "No such file"});
  write_sample(folder, hedgehog);
  const auto change = [&](const char* key, const json& value) {
    write_sample(folder, hedgehog);
    json config = json::parse(get(folder / "lolcats.json"));
    config[key] = value;
    put(folder / "lolcats.json", config.dump());
  };
  change("format", "other");
  check_throws<ConfigError>([&] { stored_method(folder); },
                            {"lolcats.json: 'format' is \"other\", expected 'lolcats'"});
  change("version", 2);
  check_throws<ConfigError>([&] { read_method(folder, hedgehog); }, {"lolcats.json: 'version' is 2, expected 1"});
  change("method", nullptr);
  check_throws<ConfigError>([&] { stored_method(folder); }, {"lolcats.json: 'method' is missing, expected a string"});
  change("method", hedgehog);
  CHECK_NOTHROW(read_method(folder, hedgehog));
  std::filesystem::remove(folder / "lolcats.safetensors");
  check_throws<FileError>([&] { read_method(folder, hedgehog); }, {"lolcats.safetensors", "No such file"});
  put(folder / "lolcats.json", "{\"format\"");
  check_throws<FormatError>([&] { stored_method(folder); }, {"lolcats.json: is not valid JSON"});
}

TEST_CASE("a recipe cannot pose as the format") {
  const TemporaryFolder folder;
  check_throws<ConfigError>(
      [&] {
        write_method(folder / "out", hedgehog, {}, {{"method", "x"}});
      },
      {"reserved key 'method'"});
  check_throws<ConfigError>([&] { write_method(folder / "out", hedgehog, {}, json::array()); }, {"recipe is []"});
  CHECK(folder.count() == 0);
}
