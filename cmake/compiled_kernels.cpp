// The heavy kernels of the CPU backend, compiled once for all units of our programs (LOLCATS_COMPILED_KERNELS).
#include <lolcats/ops/attention/eigen_backward.hpp>
#include <lolcats/ops/attention/eigen_weights.hpp>

namespace lolcats::eigen {

#define LOLCATS_DEFINE_PRODUCT(T) \
  template void add_column_major_product<T>(T*, Index, const Factor<T>&, const Factor<T>&, T);
LOLCATS_DEFINE_PRODUCT(float)
LOLCATS_DEFINE_PRODUCT(double)

#define LOLCATS_DEFINE_ATTENTION(T, kind)                                                                     \
  template Index attend<T, kind>(const Head<T>&, const Columns<T>&, FarSums<T>&, Rows<T>, HeadStatistics<T>); \
  template void pull_head<T, kind>(const Head<T>&, const ConstRows<T>&, const ConstRows<T>&,                  \
                                   const HeadStatistics<T>&, const HeadGradients<T>&);
LOLCATS_DEFINE_ATTENTION(float, Kind::near)
LOLCATS_DEFINE_ATTENTION(float, Kind::far)
LOLCATS_DEFINE_ATTENTION(float, Kind::mixed)
LOLCATS_DEFINE_ATTENTION(double, Kind::near)
LOLCATS_DEFINE_ATTENTION(double, Kind::far)
LOLCATS_DEFINE_ATTENTION(double, Kind::mixed)

#define LOLCATS_DEFINE_PARTS(T)                                                                        \
  template void fold<T>(const Head<T>&, const Columns<T>&, Index, Index, FarSums<T>&);                 \
  template void tile_weights<T>(Kind, const Head<T>&, const Columns<T>&, Index, Index, RowMatrix<T>&, \
                                Columns<T>&, Column<T>&);
LOLCATS_DEFINE_PARTS(float)
LOLCATS_DEFINE_PARTS(double)

}  // namespace lolcats::eigen
