// Golden fixtures of layers and whole models.
#include "handlers.hpp"
#include "operations.hpp"

#include <lolcats/data/batch.hpp>
#include <lolcats/model/llama.hpp>
#include <lolcats/train/transfer.hpp>

#include <doctest/doctest.h>

#include <algorithm>

namespace golden {

namespace {

LlamaConfig config_of(const Fixture& f) {
  LlamaConfig c;
  c.vocab_size = static_cast<Index>(f.number("vocab", 0));
  c.hidden_size = static_cast<Index>(f.number("dim", 0));
  c.layers = static_cast<Index>(f.number("n_layers", 0));
  c.heads = static_cast<Index>(f.number("n_heads", 0));
  c.kv_heads = static_cast<Index>(f.number("n_kv_heads", 0));
  c.head_dim = static_cast<Index>(f.number("head_dim", 0));
  if (c.head_dim == 0) c.head_dim = c.hidden_size / c.heads;
  c.intermediate_size = static_cast<Index>(f.number("ffn", 0));
  c.rms_eps = f.number("rms_eps", 1e-5);
  c.rope = rope_config(f, "rope_theta");
  c.sliding_window = static_cast<Index>(f.number("teacher_window", 0));
  c.max_position = 64;
  return c;
}

/// The attention of a layer with maps from the file: what AttentionLayer is for maps of a fixed size.
template <class A, class B>
struct FileAttention {
  Heads size;
  typename A::Window in;
  std::string activation;
  Parameter<B> query_map, key_map;
  Parameter<B> factors = {};

  const Heads& heads() const { return size; }
  const typename A::Window& window() const { return in; }
  AttentionWeights<B> weights([[maybe_unused]] Tape<B>& tape, [[maybe_unused]] const Qkv<B>& x, const Sequences&) const {
    AttentionWeights<B> w;
    if constexpr (std::is_same_v<typename A::Map, GivenFeatures>) {
      // A map per query head reads the keys of its group: k times a matrix of zeros and ones, (H * D, G * D).
      const View<double> groups = tape.template scratch<double>(Shape{size.queries * size.size, size.keys * size.size});
      std::fill_n(groups.data, groups.size(), 0.0);
      for (Index i = 0; i < groups.rows(); ++i) {
        groups.data[i * groups.cols() + i / size.size / size.group() * size.size + i % size.size] = 1;
      }
      w.query_features = features(tape, activation, x.q, query_map, size.queries);
      w.key_features = features(tape, activation, linear<B>(tape, x.k, Weight<B>{groups, {}}), key_map, size.queries);
    } else {
      w.query_map = query_map;
      w.key_map = key_map;
    }
    if constexpr (has_mixing<A>) w.window_factors = factors;
    return w;
  }
};

template <class A, class B, class Base>
struct FileLayer {
  Base* base;
  FileAttention<A, B> maps;

  const FileAttention<A, B>& attention() const { return maps; }
  Qkv<B> project(Tape<B>& tape, Var<B> x, const Sequences& s, const RopeTable<B>& table) const {
    return base->project(tape, x, s, table);
  }
  Var<B> attend_softmax(Tape<B>& tape, const Qkv<B>& x, const Sequences& s) const {
    return base->attend_softmax(tape, x, s);
  }
  Var<B> attend(Tape<B>& tape, const Qkv<B>& x, const Sequences& s) const {
    return golden::attend<A, B>(tape, x.q, x.k, x.v, s, maps.size, maps.weights(tape, x, s), maps.in);
  }
  Var<B> finish(Tape<B>& tape, Var<B> x, Var<B> y) const { return base->finish(tape, x, y); }
  Var<B> forward(Tape<B>& tape, Var<B> x, const Sequences& s, const RopeTable<B>& table) const {
    return finish(tape, x, attend(tape, project(tape, x, s, table), s));
  }
};

/// A model with base weights, and adapters if P has any, in a Llama, and maps beside it.
template <class A, class B, class P = NoAdapter>
struct FileModel {
  using Device = B;
  using Attention = A;
  using Base = Llama<B, Softmax<>, P>;

  Base base;
  std::vector<FileLayer<A, B, DecoderLayer<B, Softmax<>, P>>> layers;

  FileModel(const Fixture& f, const typename A::Window& window)
      : base(config_of(f), [&](const std::string& name, const Shape& shape) {
          return Parameter<B>(testing::array<B>(shape, f.numbers("param." + name)));
        }) {
    const auto& c = base.config();
    for (Index i = 0; i < c.layers; ++i) {
      const std::string at = fmt::format("param.model.layers.{}.self_attn.", i);
      layers.push_back({&base.layer(i),
                        {{c.heads, c.kv_heads, c.head_dim},
                         window,
                         f.text("act"),
                         map_of<B>(f, at + "feature_map_q.mlp.layer"),
                         map_of<B>(f, at + "feature_map_k.mlp.layer")}});
      if constexpr (has_mixing<A>) {
        const std::string name = at + "window_factors";
        layers.back().maps.factors = Parameter<B>(testing::array<B>(f.shape(name), f.numbers(name)));
      }
    }
    for (const auto& [name, parameter] : base.adapter_parameters()) {
      std::string in_file = "param." + name;
      in_file.insert(in_file.rfind(".weight"), ".default");
      *parameter = Parameter<B>(testing::array<B>(f.shape(in_file), f.numbers(in_file)));
    }
  }
  FileModel(const FileModel&) = delete;

  const LlamaConfig& config() const { return base.config(); }
  B backend() const { return {}; }
  static std::string name() { return "file"; }
  static std::string attention_name() { return A::name(); }
  Index layer_count() const { return base.layer_count(); }
  auto& layer(Index i) { return layers[static_cast<std::size_t>(i)]; }
  Var<B> embed(Tape<B>& tape, std::span<const Index> tokens) { return base.embed(tape, tokens); }
  RopeTable<B>& rope(const Sequences& s) { return base.rope(s); }
  void use_adapters(bool on) { base.use_adapters(on); }
  bool uses_adapters() const { return base.uses_adapters(); }

  Parameters<B> transfer_parameters() {
    Parameters<B> list;
    for (std::size_t i = 0; i < layers.size(); ++i) {
      const std::string at = fmt::format("model.layers.{}.self_attn.", i);
      list.push_back({at + "feature_map_q.mlp.layer", &layers[i].maps.query_map});
      list.push_back({at + "feature_map_k.mlp.layer", &layers[i].maps.key_map});
      if constexpr (has_mixing<A>) list.push_back({at + "window_factors", &layers[i].maps.factors});
    }
    return list;
  }

  /// (M, C) after the final norm; the first `softmax_layers` layers keep the teacher's attention.
  Var<B> hidden(Tape<B>& tape, std::span<const Index> tokens, const Sequences& s, Index softmax_layers = 0) {
    Var<B> x = embed(tape, tokens);
    for (Index i = 0; i < layer_count(); ++i) {
      x = i < softmax_layers ? base.layer(i).forward_softmax(tape, x, s, rope(s))
                             : layer(i).forward(tape, x, s, rope(s));
    }
    return base.normalize(tape, x);
  }
  Var<B> logits(Tape<B>& tape, Var<B> hidden) { return linear<B>(tape, hidden, base.head()); }
};

/// in.ids and in.labels (B, N) as rows, each with the label of its successor.
struct Text {
  Batch batch;
  double supervised = 0;

  explicit Text(const Fixture& f) {
    const Shape shape = f.shape("in.ids");
    batch.tokens = f.integers("in.ids");
    batch.labels.assign(batch.tokens.size(), ignored_label);
    if (f.has("in.labels")) {
      const auto labels = f.integers("in.labels");
      for (Index b = 0; b < shape[0]; ++b) {
        for (Index n = 0; n + 1 < shape[1]; ++n) {
          batch.labels[static_cast<std::size_t>(b * shape[1] + n)] =
              labels[static_cast<std::size_t>(b * shape[1] + n + 1)];
        }
      }
    }
    batch.sequences = Sequences::rectangular(shape[0], shape[1]);
    supervised = static_cast<double>(batch.supervised());
  }
};

/// What attention transfer asks of a model besides (train/transfer_task.hpp).
template <class A, class B, class P>
bool can_compare_weights(const FileModel<A, B, P>&) {
  return detail::compares_weights<A>;
}
template <class A, class B, class P>
Loss<B> weight_cross_entropy_of(FileModel<A, B, P>& model, Index layer, Tape<B>& tape, const Qkv<B>& x, const Sequences& sequences, double scale) {
  if constexpr (!detail::compares_weights<A>) return {};
  else {
    const auto& attention = model.layer(layer).attention();
    return weight_cross_entropy<A>(tape, x.q, x.k, sequences, attention.heads(), attention.weights(tape, x, sequences), attention.window(),
                                   checkpoint_window(model.config().sliding_window), scale);
  }
}

template <class A, class B>
void check_student(Fixture& f, const Text& text, const std::string& kind, const typename A::Window& window) {
  FileModel<A, B> model(f, window);
  const Sequences& s = text.batch.sequences;
  {
    Tape<B> tape;
    const auto hidden = model.hidden(tape, text.batch.tokens, s);
    check<B>(f, "out." + kind, model.logits(tape, hidden).value());
    const auto loss =
        lolcats::cross_entropy<B>(tape, hidden, model.base.head(), text.batch.labels, 1 / text.supervised);
    check_number<B>(f, "out.loss_" + kind, item(tape, loss));
    const std::string mixed = "out." + kind + "_layer0_softmax";
    if (f.has(mixed)) check<B>(f, mixed, model.logits(tape, model.hidden(tape, text.batch.tokens, s, 1)).value());
  }
  // One token at a time; without an expectation of its own it must give the same logits.
  const std::string decode = f.has("out.decode_" + kind) ? "out.decode_" + kind : "out." + kind;
  const Index count = s.count(), length = s.longest(), vocabulary = model.config().vocab_size;
  std::vector<double> logits(static_cast<std::size_t>(count * length * vocabulary));
  std::vector<AttentionState<B>> states(static_cast<std::size_t>(model.layer_count()));
  for (Index t = 0; t < length; ++t) {
    std::vector<Index> tokens;
    std::vector<Extent> extents;
    for (Index n = 0; n < count; ++n) {
      tokens.push_back(text.batch.tokens[static_cast<std::size_t>(n * length + t)]);
      extents.push_back({n, 1, t});
    }
    const Sequences now(count, extents);
    Tape<B> tape;
    Var<B> x = model.embed(tape, tokens);
    for (Index i = 0; i < model.layer_count(); ++i) {
      const auto& layer = model.layer(i);
      const auto qkv = layer.project(tape, x, now, model.rope(now));
      x = layer.finish(tape, x,
                       step<A, B>(tape, qkv.q, qkv.k, qkv.v, now, layer.maps.size, states[static_cast<std::size_t>(i)],
                                  layer.maps.weights(tape, qkv, now), window));
    }
    const auto row = numbers_of<B>(model.logits(tape, model.base.normalize(tape, x)).value());
    for (Index n = 0; n < count; ++n) {
      std::copy_n(row.begin() + n * vocabulary, vocabulary, logits.begin() + (n * length + t) * vocabulary);
    }
  }
  check<B>(f, decode, logits);
}

/// The softmax teacher, by the model itself.
template <class B>
void check_teacher(Fixture& f, const Text& text) {
  Llama<B> teacher(config_of(f), [&](const std::string& name, const Shape& shape) {
    return Parameter<B>(testing::array<B>(shape, f.numbers("param." + name)));
  });
  Tape<B> tape;
  check<B>(f, "out.teacher", teacher.logits(tape, text.batch.tokens, text.batch.sequences).value());
  check_number<B>(f, "out.loss_teacher", item(tape, teacher.loss(tape, text.batch, 1 / text.supervised)));
}

/// No validation data.
struct NoData {
  Index size() const { return 0; }
  Batch batch(std::span<const Index>) const { return {}; }
};

template <class A, class B>
void check_transfer(Fixture& f, const Text& text, const typename A::Window& window) {
  using Model = FileModel<A, B>;
  FileModel<A, B> model(f, window);
  const Index layers = model.layer_count(), tokens = static_cast<Index>(text.batch.tokens.size());
  const detail::TransferBatch batch{text.batch, {}};
  const auto parameters = model.transfer_parameters();
  const auto loss = [&](Index first, Index last, double mse, double xent) {
    for (const auto& [name, parameter] : parameters) {
      parameter->freeze();
      parameter->train(B{});
    }
    const NoData none;
    detail::TransferTask<Model, NoData> task(model, none, {first, last, mse, xent, 8}, {});
    return task.step(batch, {.scale = 1 / static_cast<double>(tokens)});
  };

  check_number<B>(f, "out.loss", loss(0, layers, 1000, 0));
  for (const auto& [name, parameter] : parameters) check<B>(f, "grad." + name, parameter->gradient());
  check_number<B>(f, "out.loss_xent", loss(0, layers, 1000, 1));
  for (const auto& [name, parameter] : parameters) check<B>(f, "grad." + name + ".xent", parameter->gradient());

  std::vector<double> mse, xent, block, inputs;
  for (Index i = 0; i < layers; ++i) {
    mse.push_back(loss(i, i + 1, 1, 0));
    xent.push_back(loss(i, i + 1, 0, 1));
    block.push_back(loss(i, i + 1, 1000, 0));
  }
  check<B>(f, "out.layer_mse", mse);
  check<B>(f, "out.layer_xent", xent);
  check<B>(f, "out.block_loss", block);

  Tape<B> tape;
  TeacherStream<Model> stream(tape, model);
  stream.start(text.batch.tokens, text.batch.sequences);
  while (stream.layer() < layers) {
    for (const double x : numbers_of<B>(stream.value())) inputs.push_back(x);
    stream.advance();
  }
  check<B>(f, "out.block_inputs", inputs);
}

template <class A, class B>
void check_layer(Fixture& f, const typename A::Window& window) {
  const auto c = config_of(f);
  const std::string at = "model.layers.0.";
  DecoderLayer<B> layer(
      B{}, {c.hidden_size, {c.heads, c.kv_heads, c.head_dim}, c.intermediate_size, c.rms_eps, c.sliding_window}, 0, 0);
  std::vector<NamedParameter<B>> base;
  layer.visit_base(at, [&](const std::string& name, const Shape& shape, Parameter<B>& p) {
    p = Parameter<B>(testing::array<B>(shape, f.numbers("param." + name)));
    p.train(B{});
    base.push_back({name, &p});
  });
  FileLayer<A, B, DecoderLayer<B>> student{&layer,
                                           {{c.heads, c.kv_heads, c.head_dim},
                                            window,
                                            f.text("act"),
                                            map_of<B>(f, "param." + at + "self_attn.feature_map_q.mlp.layer"),
                                            map_of<B>(f, "param." + at + "self_attn.feature_map_k.mlp.layer")}};
  student.maps.query_map.train(B{});
  student.maps.key_map.train(B{});
  base.push_back({at + "self_attn.feature_map_q.mlp.layer", &student.maps.query_map});
  base.push_back({at + "self_attn.feature_map_k.mlp.layer", &student.maps.key_map});
  if constexpr (has_mixing<A>) {
    student.maps.factors = trained<B>(f, "param." + at + "self_attn.window_factors");
    base.push_back({at + "self_attn.window_factors", &student.maps.factors});
  }
  const Shape shape = f.shape("in.x");
  const Sequences s = Sequences::rectangular(shape[0], shape[1]);
  const RopeTable<B> table(rope_frequencies(c.rope, c.head_dim), shape[1]);
  const auto values = testing::array<B>(Shape{shape.rows(), shape.cols()}, f.numbers("in.x"));
  Tape<B> tape;
  const auto x = tape.variable(View<const Scalar<B>>(values.view()));
  {
    const typename Tape<B>::NoGradient quiet(tape);
    check<B>(f, "out.teacher", layer.forward_softmax(tape, x, s, table).value());
  }
  const auto y = student.forward(tape, x, s, table);
  check<B>(f, "out.student", y.value());
  pull<B>(tape, y, f.numbers("dout.student"));
  check<B>(f, "grad.x", x.gradient());
  for (const auto& [name, parameter] : base) check<B>(f, "grad." + name, parameter->gradient());
}

template <class A, class B>
void check_finetune(Fixture& f, const Text& text, const typename A::Window& window) {
  FileLora::rank = static_cast<Index>(f.number("rank", 1));
  FileLora::alpha = f.number("alpha", 1);
  FileModel<A, B, FileLora> model(f, window);
  const auto adapters = model.base.adapter_parameters();
  for (const auto& [name, parameter] : adapters) parameter->train(B{});
  Tape<B> tape;
  tape.training = true;
  const auto hidden = model.hidden(tape, text.batch.tokens, text.batch.sequences);
  check<B>(f, "out.logits", model.logits(tape, hidden).value());
  const auto loss = lolcats::cross_entropy<B>(tape, hidden, model.base.head(), text.batch.labels, 1 / text.supervised);
  check_number<B>(f, "out.loss", item(tape, loss));
  tape.backward(loss);
  for (const auto& [name, parameter] : adapters) {
    std::string in_file = "grad." + name;
    in_file.insert(in_file.rfind(".weight"), ".default");
    check<B>(f, in_file, parameter->gradient());
  }
}

/// Calls f(attention, window) for the student's attention that the file names, over features that are given if `Others`.
template <bool Others = false, class F>
void with_attention(const Fixture& fixture, const std::string& kind, F&& f) {
  const auto call = [&]<class A>(std::type_identity<A>, const auto& window) {
    f(std::type_identity<std::conditional_t<Others, Given<A>, A>>{}, window);
  };
  require<Error>(Others || fixture.text("act") == "softmax_dim", "{}: a map by '{}' is not compiled here, expected softmax_dim",
                 fixture.name(), fixture.text("act"));
  if (kind == "linear") return call(std::type_identity<FileLinear>{}, Nothing{});
  if (fixture.flag("affine")) return call(std::type_identity<FileAffine>{}, FileWindow::of(fixture, kind));
  call(std::type_identity<FileHybrid>{}, FileWindow::of(fixture, kind));
}

/// Calls f(backend, attention, window) for every backend, or for the one that has other maps.
template <class F>
void on_backends_with(Fixture& fixture, const std::string& kind, F&& f) {
  if (fixture.text("act") == "softmax_dim") {
    on_every_backend([&]<class B>(B) {
      with_attention(fixture, kind, [&](auto attention, const auto& window) { f(B{}, attention, window); });
    });
    return;
  }
#ifdef __CUDACC__
  for (const std::string& name : fixture.unchecked()) fixture.mark(name);
#else
  with_attention<true>(fixture, kind, [&](auto attention, const auto& window) { f(OtherMaps{}, attention, window); });
#endif
}

}  // namespace

void tiny_llama(Fixture& f) {
  f.expect_roundings(6);
  const Text text(f);
  on_every_backend([&]<class B>(B) { check_teacher<B>(f, text); });
  for (const char* kind : {"sw", "tile", "linear"}) {
    on_backends_with(f, kind, [&]<class B, class A>(B, std::type_identity<A>, const auto& window) {
      check_student<A, B>(f, text, kind, window);
    });
  }
}

void attention_transfer(Fixture& f) {
  f.expect_roundings(6);
  const Text text(f);
  on_every_backend([&]<class B>(B) {
    with_attention(f, f.text("kind"),
                   [&]<class A>(std::type_identity<A>, const auto& window) { check_transfer<A, B>(f, text, window); });
  });
}

void decoder_layer(Fixture& f) {
  f.expect_roundings(2);
  on_backends_with(f, f.text("kind"), [&]<class B, class A>(B, std::type_identity<A>, const auto& window) {
    check_layer<A, B>(f, window);
  });
}

void lora_finetune(Fixture& f) {
  f.expect_roundings(6);
  const Text text(f);
  on_every_backend([&]<class B>(B) {
    with_attention(f, f.text("kind"),
                   [&]<class A>(std::type_identity<A>, const auto& window) { check_finetune<A, B>(f, text, window); });
  });
}

}  // namespace golden
