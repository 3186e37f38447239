// The kernels' bodies; included once by each kernels_*.cpp with its own instruction set and
// namespace. Only raw pointers and builtins: an inline function of the standard library compiled
// here could be picked by the linker for the whole program, AVX-512 included.
// No include guard by design: TRIMTAB_KERNELS names the instruction set.
// Over 400 lines because the kernels are compiled three times, once an instruction set; it is
// included more than once on purpose.
#include <cmath>
#include <cstdint>
#include <cstring>

#include "retrain/model/kernels.h"

extern "C" {  // OpenBLAS; declared here so that no -dev package decides
void cblas_sgemm(int order, int trans_a, int trans_b, int m, int n, int k, float alpha,
                 const float* a, int lda, const float* b, int ldb, float beta, float* c, int ldc);
void cblas_dgemm(int order, int trans_a, int trans_b, int m, int n, int k, double alpha,
                 const double* a, int lda, const double* b, int ldb, double beta, double* c,
                 int ldc);
}

namespace trimtab::model::TRIMTAB_KERNELS {
namespace {

using Int = std::int64_t;

inline void gemm(bool ta, bool tb, Int m, Int n, Int k, float alpha, const float* a, Int lda,
                 const float* b, Int ldb, float beta, float* c, Int ldc) {
  cblas_sgemm(101, ta ? 112 : 111, tb ? 112 : 111, static_cast<int>(m), static_cast<int>(n),
              static_cast<int>(k), alpha, a, static_cast<int>(lda), b, static_cast<int>(ldb), beta,
              c, static_cast<int>(ldc));
}
inline void gemm(bool ta, bool tb, Int m, Int n, Int k, double alpha, const double* a, Int lda,
                 const double* b, Int ldb, double beta, double* c, Int ldc) {
  cblas_dgemm(101, ta ? 112 : 111, tb ? 112 : 111, static_cast<int>(m), static_cast<int>(n),
              static_cast<int>(k), alpha, a, static_cast<int>(lda), b, static_cast<int>(ldb), beta,
              c, static_cast<int>(ldc));
}

// e^x, branch-free so that loops vectorise: x = n ln 2 + r, |r| <= ln 2 / 2, polynomial of Cephes'
// expf (Moshier), about 1 ulp. n is rounded by adding 1.5 * 2^23.
inline float exponential(float x) {
  x = x < -87.0f ? -87.0f : (x > 88.0f ? 88.0f : x);
  const float shifted = x * 1.44269504088896341f + 12582912.0f;
  const float n = shifted - 12582912.0f;
  float r = x - n * 0.693359375f;
  r = r + n * 2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  std::int32_t bits;
  std::memcpy(&bits, &shifted, 4);
  std::int32_t power = (bits - 0x4b400000 + 127) << 23;
  float two_n;
  std::memcpy(&two_n, &power, 4);
  return p * two_n;
}
inline double exponential(double x) { return ::exp(x); }

template <typename T>
inline T hyperbolic_tangent(T x) {
  const T bounded = x < T(-15) ? T(-15) : (x > T(15) ? T(15) : x);
  return T(1) - T(2) / (exponential(bounded + bounded) + T(1));
}
inline double error_function(double x) { return ::erf(x); }
inline float error_function(float x) { return ::erff(x); }
inline double square_root(double x) { return __builtin_sqrt(x); }
inline float square_root(float x) { return __builtin_sqrtf(x); }
inline double logarithm(double x) { return ::log(x); }
inline float logarithm(float x) { return ::logf(x); }

template <typename T>
void norm(const NormShape& s, const T* x, const T* weight, const T* bias, T* y, T* stats) {
  const T offset = s.unit_offset ? T(1) : T(0);
  const T eps = static_cast<T>(s.eps);
  const Int width = s.width;
  for (Int row = 0; row < s.rows; ++row) {
    for (Int g = 0; g < s.groups; ++g) {
      const T* in = x + row * s.stride + g * width;
      T* out = y + row * s.stride + g * width;
      const T* w = weight + g * s.weight_stride;
      T mean = 0;
      if (s.kind == NormKind::kLayer) {
        T sum = 0;
#pragma omp simd reduction(+ : sum)
        for (Int i = 0; i < width; ++i) sum += in[i];
        mean = sum / static_cast<T>(width);
      }
      T squares = 0;
#pragma omp simd reduction(+ : squares)
      for (Int i = 0; i < width; ++i) squares += (in[i] - mean) * (in[i] - mean);
      const T inverse = T(1) / square_root(squares / static_cast<T>(width) + eps);
#pragma omp simd
      for (Int i = 0; i < width; ++i) out[i] = (offset + w[i]) * ((in[i] - mean) * inverse);
      if (bias != nullptr) {
#pragma omp simd
        for (Int i = 0; i < width; ++i) out[i] += bias[i];
      }
      stats[(row * s.groups + g) * 2] = mean;
      stats[(row * s.groups + g) * 2 + 1] = inverse;
    }
  }
}

// With n = (x - mean) r and u = w dy: dx = r (u - mean(u)[layer only] - n mean(u n)).
template <typename T>
void norm_backward(const NormShape& s, const T* x, const T* weight, const T* stats, const T* dy,
                   T* dx, T* dweight, T* dbias) {
  const T offset = s.unit_offset ? T(1) : T(0);
  const Int width = s.width;
  for (Int row = 0; row < s.rows; ++row) {
    for (Int g = 0; g < s.groups; ++g) {
      const T* in = x + row * s.stride + g * width;
      const T* d = dy + row * s.stride + g * width;
      T* out = dx + row * s.stride + g * width;
      const T* w = weight + g * s.weight_stride;
      const T mean = stats[(row * s.groups + g) * 2];
      const T inverse = stats[(row * s.groups + g) * 2 + 1];
      T sum_u = 0;
      T sum_un = 0;
#pragma omp simd reduction(+ : sum_u, sum_un)
      for (Int i = 0; i < width; ++i) {
        const T u = (offset + w[i]) * d[i];
        sum_u += u;
        sum_un += u * ((in[i] - mean) * inverse);
      }
      const T mean_u = s.kind == NormKind::kLayer ? sum_u / static_cast<T>(width) : T(0);
      const T mean_un = sum_un / static_cast<T>(width);
#pragma omp simd
      for (Int i = 0; i < width; ++i) {
        const T n = (in[i] - mean) * inverse;
        out[i] += inverse * ((offset + w[i]) * d[i] - mean_u - n * mean_un);
      }
      if (dweight != nullptr) {
        T* dw = dweight + g * s.weight_stride;
#pragma omp simd
        for (Int i = 0; i < width; ++i) dw[i] += d[i] * ((in[i] - mean) * inverse);
      }
      if (dbias != nullptr) {
#pragma omp simd
        for (Int i = 0; i < width; ++i) dbias[i] += d[i];
      }
    }
  }
}

template <typename T>
void rope(const RopeShape& s, T* x, const T* cosine, const T* sine) {
  const Int half = s.rotary_dim / 2;
  const T sign = s.inverse ? T(-1) : T(1);
  for (Int row = 0; row < s.rows; ++row) {
    const T* c = cosine + row * half;
    const T* sn = sine + row * half;
    for (Int h = 0; h < s.heads; ++h) {
      T* v = x + row * s.stride + h * s.head_dim;
      if (s.interleaved) {
        for (Int i = 0; i < half; ++i) {
          const T a = v[2 * i];
          const T b = v[2 * i + 1];
          v[2 * i] = a * c[i] - sign * b * sn[i];
          v[2 * i + 1] = b * c[i] + sign * a * sn[i];
        }
      } else {
#pragma omp simd
        for (Int i = 0; i < half; ++i) {
          const T a = v[i];
          const T b = v[i + half];
          v[i] = a * c[i] - sign * b * sn[i];
          v[i + half] = b * c[i] + sign * a * sn[i];
        }
      }
    }
  }
}

// The keys that queries [i0, i1) of a document may see.
struct KeyRange {
  Int begin;
  Int end;
};
inline KeyRange visible(const AttentionShape& s, Int i0, Int i1) {
  const Int past = s.keys - s.queries;
  Int begin = s.window > 0 ? i0 + past - s.window + 1 : 0;
  if (begin < 0) begin = 0;
  return {begin, i1 + past};
}

// scores [rows, range] of one head and block: scaled, capped; outside the causal band untouched.
template <typename T>
inline void block_scores(const AttentionShape& s, const T* q, const T* k, Int i0, Int i1,
                         KeyRange r, T* scores) {
  const Int width = r.end - r.begin;
  gemm(false, true, i1 - i0, width, s.head_dim, static_cast<T>(s.scale), q + i0 * s.q_stride,
       s.q_stride, k + r.begin * s.kv_stride, s.kv_stride, T(0), scores, width);
  if (s.softcap > 0) {
    const T cap = static_cast<T>(s.softcap);
    const T inverse = T(1) / cap;
#pragma omp simd
    for (Int i = 0; i < (i1 - i0) * width; ++i) {
      scores[i] = cap * hyperbolic_tangent(scores[i] * inverse);
    }
  }
}

template <typename T>
void attention(const AttentionShape& s, const T* q, const T* k, const T* v, T* out, T* lse,
               T* scratch) {
  const Int past = s.keys - s.queries;
  const Int rep = s.heads / s.kv_heads;
  for (Int h = 0; h < s.heads; ++h) {
    const T* qh = q + h * s.head_dim;
    const T* kh = k + (h / rep) * s.head_dim;
    const T* vh = v + (h / rep) * s.head_dim;
    for (Int i0 = 0; i0 < s.queries; i0 += kAttentionBlock) {
      const Int i1 = i0 + kAttentionBlock < s.queries ? i0 + kAttentionBlock : s.queries;
      const KeyRange r = visible(s, i0, i1);
      const Int width = r.end - r.begin;
      block_scores(s, qh, kh, i0, i1, r, scratch);
      for (Int i = i0; i < i1; ++i) {
        T* row = scratch + (i - i0) * width;
        const Int last = i + past + 1 - r.begin;  // exclusive
        Int first = s.window > 0 ? i + past - s.window + 1 - r.begin : 0;
        if (first < 0) first = 0;
        T high = row[first];
#pragma omp simd reduction(max : high)
        for (Int j = first; j < last; ++j) high = row[j] > high ? row[j] : high;
        T sum = 0;
#pragma omp simd reduction(+ : sum)
        for (Int j = first; j < last; ++j) {
          const T e = exponential(row[j] - high);
          row[j] = e;
          sum += e;
        }
        const T inverse = T(1) / sum;
#pragma omp simd
        for (Int j = first; j < last; ++j) row[j] *= inverse;
        for (Int j = 0; j < first; ++j) row[j] = 0;
        for (Int j = last; j < width; ++j) row[j] = 0;
        if (lse != nullptr) lse[i * s.heads + h] = high + logarithm(sum);
      }
      gemm(false, false, i1 - i0, s.head_dim, width, T(1), scratch, width,
           vh + r.begin * s.kv_stride, s.kv_stride, T(0), out + i0 * s.out_stride + h * s.head_dim,
           s.out_stride);
    }
  }
}

// dS = P (dP - rowsum(dO O)); the scores are recomputed, only their log-sum-exp was kept
// (Dao et al. 2022).
template <typename T>
void attention_backward(const AttentionShape& s, const T* q, const T* k, const T* v, const T* out,
                        const T* lse, const T* d_out, T* dq, T* dk, T* dv, T* scratch) {
  const Int rep = s.heads / s.kv_heads;
  const Int past = s.keys - s.queries;
  for (Int h = 0; h < s.heads; ++h) {
    const Int at = h * s.head_dim;
    const Int kv = (h / rep) * s.head_dim;
    for (Int i0 = 0; i0 < s.queries; i0 += kAttentionBlock) {
      const Int i1 = i0 + kAttentionBlock < s.queries ? i0 + kAttentionBlock : s.queries;
      const KeyRange r = visible(s, i0, i1);
      const Int width = r.end - r.begin;
      const Int rows = i1 - i0;
      T* p = scratch;
      T* dp = scratch + rows * width;
      block_scores(s, q + at, k + kv, i0, i1, r, p);
      gemm(false, true, rows, width, s.head_dim, T(1), d_out + i0 * s.out_stride + at, s.out_stride,
           v + kv + r.begin * s.kv_stride, s.kv_stride, T(0), dp, width);
      for (Int i = i0; i < i1; ++i) {
        T* pr = p + (i - i0) * width;
        T* dr = dp + (i - i0) * width;
        const T* o = out + i * s.out_stride + at;
        const T* d = d_out + i * s.out_stride + at;
        T dot = 0;
#pragma omp simd reduction(+ : dot)
        for (Int j = 0; j < s.head_dim; ++j) dot += o[j] * d[j];
        const T level = lse[i * s.heads + h];
        const Int last = i + past + 1 - r.begin;
        Int first = s.window > 0 ? i + past - s.window + 1 - r.begin : 0;
        if (first < 0) first = 0;
        const T scale = static_cast<T>(s.scale);
        const T inverse_cap = s.softcap > 0 ? T(1) / static_cast<T>(s.softcap) : T(0);
#pragma omp simd
        for (Int j = first; j < last; ++j) {
          const T capped = pr[j] * inverse_cap;  // tanh(raw / cap)
          const T prob = exponential(pr[j] - level);
          dr[j] = prob * (dr[j] - dot) * scale * (T(1) - capped * capped);
          pr[j] = prob;
        }
        for (Int j = 0; j < first; ++j) pr[j] = dr[j] = 0;
        for (Int j = last; j < width; ++j) pr[j] = dr[j] = 0;
      }
      gemm(true, false, width, s.head_dim, rows, T(1), p, width, d_out + i0 * s.out_stride + at,
           s.out_stride, T(1), dv + kv + r.begin * s.kv_stride, s.kv_stride);
      gemm(false, false, rows, s.head_dim, width, T(1), dp, width, k + kv + r.begin * s.kv_stride,
           s.kv_stride, T(0), dq + i0 * s.q_stride + at, s.q_stride);
      gemm(true, false, width, s.head_dim, rows, T(1), dp, width, q + i0 * s.q_stride + at,
           s.q_stride, T(1), dk + kv + r.begin * s.kv_stride, s.kv_stride);
    }
  }
}

template <Activation A, typename T>
inline T act(T x) {
  if constexpr (A == Activation::kSilu) return x / (T(1) + exponential(-x));
  if constexpr (A == Activation::kGeluTanh) {
    const T u = T(0.7978845608028654) * (x + T(0.044715) * x * x * x);
    return T(0.5) * x * (T(1) + hyperbolic_tangent(u));
  }
  if constexpr (A == Activation::kGelu)
    return T(0.5) * x * (T(1) + error_function(x * T(0.7071067811865476)));
  return x > T(0) ? x : T(0);
}

template <Activation A, typename T>
inline T act_slope(T x) {
  if constexpr (A == Activation::kSilu) {
    const T s = T(1) / (T(1) + exponential(-x));
    return s * (T(1) + x * (T(1) - s));
  }
  if constexpr (A == Activation::kGeluTanh) {
    const T t = hyperbolic_tangent(T(0.7978845608028654) * (x + T(0.044715) * x * x * x));
    const T inner = T(0.7978845608028654) * (T(1) + T(3 * 0.044715) * x * x);
    return T(0.5) * (T(1) + t) + T(0.5) * x * (T(1) - t * t) * inner;
  }
  if constexpr (A == Activation::kGelu) {
    return T(0.5) * (T(1) + error_function(x * T(0.7071067811865476))) +
           x * T(0.3989422804014327) * exponential(T(-0.5) * x * x);
  }
  return x > T(0) ? T(1) : T(0);
}

template <Activation A, typename T>
void activate_as(bool gated, Int rows, Int width, const T* x, T* y) {
  for (Int row = 0; row < rows; ++row) {
    const T* in = x + row * width * (gated ? 2 : 1);
    T* out = y + row * width;
    if (gated) {
#pragma omp simd
      for (Int i = 0; i < width; ++i) out[i] = act<A>(in[i]) * in[i + width];
    } else {
#pragma omp simd
      for (Int i = 0; i < width; ++i) out[i] = act<A>(in[i]);
    }
  }
}

template <Activation A, typename T>
void activate_backward_as(bool gated, Int rows, Int width, const T* x, const T* dy, T* dx) {
  for (Int row = 0; row < rows; ++row) {
    const T* in = x + row * width * (gated ? 2 : 1);
    const T* d = dy + row * width;
    T* out = dx + row * width * (gated ? 2 : 1);
    if (gated) {
#pragma omp simd
      for (Int i = 0; i < width; ++i) {
        const T gate = in[i];
        const T up = in[i + width];
        out[i + width] = d[i] * act<A>(gate);
        out[i] = d[i] * up * act_slope<A>(gate);
      }
    } else {
#pragma omp simd
      for (Int i = 0; i < width; ++i) out[i] = d[i] * act_slope<A>(in[i]);
    }
  }
}

template <typename T>
void activate(Activation a, bool gated, Int rows, Int width, const T* x, T* y) {
  switch (a) {
    case Activation::kSilu: return activate_as<Activation::kSilu>(gated, rows, width, x, y);
    case Activation::kGelu: return activate_as<Activation::kGelu>(gated, rows, width, x, y);
    case Activation::kGeluTanh: return activate_as<Activation::kGeluTanh>(gated, rows, width, x, y);
    case Activation::kRelu: return activate_as<Activation::kRelu>(gated, rows, width, x, y);
  }
}

template <typename T>
void activate_backward(Activation a, bool gated, Int rows, Int width, const T* x, const T* dy,
                       T* dx) {
  switch (a) {
    case Activation::kSilu:
      return activate_backward_as<Activation::kSilu>(gated, rows, width, x, dy, dx);
    case Activation::kGelu:
      return activate_backward_as<Activation::kGelu>(gated, rows, width, x, dy, dx);
    case Activation::kGeluTanh:
      return activate_backward_as<Activation::kGeluTanh>(gated, rows, width, x, dy, dx);
    case Activation::kRelu:
      return activate_backward_as<Activation::kRelu>(gated, rows, width, x, dy, dx);
  }
}

template <typename T>
void log_sum_exp(Int rows, Int vocab, const T* logits, T* lse) {
  for (Int row = 0; row < rows; ++row) {
    const T* x = logits + row * vocab;
    T high = x[0];
#pragma omp simd reduction(max : high)
    for (Int i = 0; i < vocab; ++i) high = x[i] > high ? x[i] : high;
    T sum = 0;
#pragma omp simd reduction(+ : sum)
    for (Int i = 0; i < vocab; ++i) sum += exponential(x[i] - high);
    lse[row] = high + logarithm(sum);
  }
}

template <typename T>
void softmax_gradient(Int rows, Int vocab, T* logits, const T* lse, const Int* labels,
                      const T* weights) {
  for (Int row = 0; row < rows; ++row) {
    T* x = logits + row * vocab;
    const T level = lse[row];
    const T weight = weights[row];
#pragma omp simd
    for (Int i = 0; i < vocab; ++i) x[i] = weight * exponential(x[i] - level);
    if (labels != nullptr) x[labels[row]] -= weight;
  }
}

template <typename T>
void kl_gradient(Int rows, Int vocab, T* q_logits, const T* q_lse, const T* p_logits,
                 const T* p_lse, const T* weights, double* kl) {
  for (Int row = 0; row < rows; ++row) {
    T* q = q_logits + row * vocab;
    const T* p = p_logits + row * vocab;
    const T q_level = q_lse[row];
    const T p_level = p_lse[row];
    const T weight = weights[row];
    T sum = 0;
#pragma omp simd reduction(+ : sum)
    for (Int i = 0; i < vocab; ++i) {
      const T log_q = q[i] - q_level;
      const T log_p = p[i] - p_level;
      const T prob = exponential(log_p);
      sum += prob * (log_p - log_q);
      q[i] = weight * (exponential(log_q) - prob);
    }
    kl[row] = static_cast<double>(sum);
  }
}

template <typename T>
void adamw(Int count, T* p, const T* g, T* m, T* v, T lr, T beta1, T beta2, T eps, T weight_decay,
           T correction1, T correction2, T grad_scale) {
  const T step = lr / correction1;
  const T root = T(1) / square_root(correction2);
  const T keep = T(1) - lr * weight_decay;
#pragma omp simd
  for (Int i = 0; i < count; ++i) {
    const T gradient = g[i] * grad_scale;
    m[i] = m[i] + (gradient - m[i]) * (T(1) - beta1);
    v[i] = v[i] * beta2 + (T(1) - beta2) * gradient * gradient;
    p[i] = p[i] * keep - step * m[i] / (square_root(v[i]) * root + eps);
  }
}

template <typename T>
constexpr Kernels<T> kTable = {
    norm<T>,     norm_backward<T>,     rope<T>,        attention<T>, attention_backward<T>,
    activate<T>, activate_backward<T>, log_sum_exp<T>, adamw<T>,     softmax_gradient<T>,
    kl_gradient<T>};

}  // namespace

const Kernels<float>* table_float() { return &kTable<float>; }
const Kernels<double>* table_double() { return &kTable<double>; }

}  // namespace trimtab::model::TRIMTAB_KERNELS
