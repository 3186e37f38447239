// gemm_rate [THREADS]: the best single-precision matrix-product rate of this machine, the yardstick
// of `./dev bench train`. Two numbers on standard output: GF a second of wall time with THREADS
// threads, and GF a CPU second of one thread (the same on an idle machine with one thread).
//
// The best of several shapes, each (a) split by OpenBLAS over the threads, (b) as independent
// products of one thread each, added up. Results are checked, so that nothing is optimised away.
#include <algorithm>
#include <array>
#include <barrier>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <thread>
#include <vector>

#include "retrain/model/openblas_core.h"

extern "C" {
void cblas_sgemm(int order, int trans_a, int trans_b, int m, int n, int k, float alpha,
                 const float* a, int lda, const float* b, int ldb, float beta, float* c, int ldc);
void openblas_set_num_threads(int threads);
}

namespace {

using Clock = std::chrono::steady_clock;
constexpr double kSecondsEach = 0.25;

struct Product {
  int m, n, k;
  std::vector<float> a, b, c;
  Product(int rows, int columns, int depth)
      : m(rows),
        n(columns),
        k(depth),
        a(static_cast<std::size_t>(rows) * static_cast<std::size_t>(depth), 0.5F),
        b(static_cast<std::size_t>(depth) * static_cast<std::size_t>(columns), 0.25F),
        c(static_cast<std::size_t>(rows) * static_cast<std::size_t>(columns)) {}
  void run() {
    cblas_sgemm(101, 111, 111, m, n, k, 1.0F, a.data(), k, b.data(), n, 0.0F, c.data(), n);
  }
  [[nodiscard]] double flops() const { return 2.0 * m * n * k; }
  [[nodiscard]] bool right() const { return c.back() == 0.125F * static_cast<float>(k); }
};

double thread_seconds() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) / 1e9;
}

struct Rate {
  double wall = 0;
  double cpu = 0;  // of the calling thread
};

// GF/s of one product repeated for a while; the best of short stretches, so that a neighbour's
// burst does not count.
Rate rate_of(Product& product) {
  product.run();
  const int repeats = 1 + static_cast<int>(2e9 / product.flops());
  Rate best;
  const auto end = Clock::now() + std::chrono::duration<double>(kSecondsEach);
  do {
    const auto start = Clock::now();
    const double cpu = thread_seconds();
    for (int i = 0; i < repeats; ++i) product.run();
    const std::chrono::duration<double> took = Clock::now() - start;
    const double work = repeats * product.flops() / 1e9;
    best.cpu = std::max(best.cpu, work / (thread_seconds() - cpu));
    best.wall = std::max(best.wall, work / took.count());
  } while (Clock::now() < end);
  if (!product.right()) {
    std::fputs("gemm_rate: the product is wrong\n", stderr);
    std::exit(1);
  }
  return best;
}

double side_by_side(int m, int n, int k, int threads) {
  std::vector<double> rates(static_cast<std::size_t>(threads));
  {
    std::barrier together(threads);
    std::vector<std::jthread> workers;
    for (double& rate : rates) {
      workers.emplace_back([&together, &rate, m, n, k] {
        Product product(m, n, k);
        together.arrive_and_wait();
        rate = rate_of(product).wall;
      });
    }
  }
  double total = 0;
  for (const double rate : rates) total += rate;
  return total;
}

}  // namespace

int main(int argc, char** argv) {
  trimtab::model::use_best_openblas_core();
  const int threads = argc > 1 ? std::max(1, std::atoi(argv[1])) : 1;
  double best = 0;
  double one_cpu = 0;
  for (const auto& [m, n, k] : {std::array{512, 3072, 576}, std::array{1024, 1536, 576},
                                std::array{1024, 1024, 1024}, std::array{2048, 2048, 2048}}) {
    openblas_set_num_threads(threads);
    Product product(m, n, k);
    best = std::max(best, rate_of(product).wall);
    openblas_set_num_threads(1);
    if (threads > 1) best = std::max(best, side_by_side(m, n, k, threads));
    const Rate one = rate_of(product);
    one_cpu = std::max(one_cpu, one.cpu);
    if (threads == 1) best = std::max(best, one.wall);
  }
  std::printf("%.2f %.2f\n", best, one_cpu);
  return 0;
}
