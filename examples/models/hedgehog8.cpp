// Students for heads of 8.
#include "student_of.hpp"

namespace examples {

template std::unique_ptr<AnyModel> student_of<lolcats::zoo::Hedgehog8Linear>(const Teacher&, std::uint64_t, const std::filesystem::path&);
template std::unique_ptr<AnyModel> student_of<lolcats::zoo::Hedgehog8Sliding16>(const Teacher&, std::uint64_t, const std::filesystem::path&);
template std::unique_ptr<AnyModel> student_of<lolcats::zoo::Hedgehog8Terraced64>(const Teacher&, std::uint64_t, const std::filesystem::path&);

}  // namespace examples
