// T2R students for heads of 8.
#include "student_of.hpp"

namespace examples {

template std::unique_ptr<AnyModel> student_of<lolcats::zoo::T2R16Linear>(const Teacher&, std::uint64_t, const std::filesystem::path&);
template std::unique_ptr<AnyModel> student_of<lolcats::zoo::T2R16Terraced64>(const Teacher&, std::uint64_t, const std::filesystem::path&);

}  // namespace examples
