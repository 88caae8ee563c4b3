// The teacher, and students by name.
#include "any_model_of.hpp"

#include <lolcats/model/finite_weights.hpp>
#include <lolcats/train/maps_in_use.hpp>

namespace examples {

namespace {

std::unique_ptr<AnyModel> student(const std::string& name, const AnyModel& teacher, std::uint64_t seed,
                                  const std::filesystem::path& checkpoint) {
  std::unique_ptr<AnyModel> made;
  lolcats::visit_student(name, [&](auto entry) {
    made = student_of<decltype(entry)>(dynamic_cast<const AnyModelOf<Teacher>&>(teacher).model(), seed, checkpoint);
  });
  return made;
}

}  // namespace

std::unique_ptr<AnyModel> load_teacher(const std::filesystem::path& path) {
  auto model = std::make_unique<AnyModelOf<Teacher>>(lolcats::load_llama<Device>(path));
  lolcats::require_finite_weights(model->model(), path.string());
  return model;
}

std::unique_ptr<AnyModel> make_student(const std::string& name, const AnyModel& teacher, std::uint64_t seed) {
  return student(name, teacher, seed, {});
}

void require_maps_in_use(const std::string& name, Index longest) {
  lolcats::visit_student(name, [&](auto entry) {
    lolcats::require_maps_in_use<typename decltype(entry)::template Model<Device>::Attention>(longest);
  });
}

std::unique_ptr<AnyModel> load_student(const std::string& name, const AnyModel& teacher, const std::filesystem::path& checkpoint) {
  return student(name, teacher, 0, checkpoint);
}

std::string device_name() { return std::string(Device::name()); }

}  // namespace examples
