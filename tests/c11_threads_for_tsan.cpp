// C11's threads by POSIX's, for the tsan preset only. librdkafka uses <threads.h>, which g++ 12's
// ThreadSanitizer does not know: its threads would have no shadow, and what its locks order would
// look like races. In glibc the types are the same underneath. These definitions come before the C
// library's, in the programs of the tests.
#include <pthread.h>
#include <threads.h>
#include <time.h>

#include <cerrno>
#include <cstdint>

namespace {

pthread_mutex_t* of(mtx_t* mutex) { return reinterpret_cast<pthread_mutex_t*>(mutex); }
pthread_cond_t* of(cnd_t* condition) { return reinterpret_cast<pthread_cond_t*>(condition); }

int said(int error) {
  switch (error) {
    case 0: return thrd_success;
    case EBUSY: return thrd_busy;
    case ENOMEM: return thrd_nomem;
    case ETIMEDOUT: return thrd_timedout;
    default: return thrd_error;
  }
}

struct Start {
  thrd_start_t run;
  void* argument;
};

void* run(void* given) {
  const Start start = *static_cast<Start*>(given);
  delete static_cast<Start*>(given);
  return reinterpret_cast<void*>(static_cast<std::intptr_t>(start.run(start.argument)));
}

}  // namespace

static_assert(sizeof(mtx_t) == sizeof(pthread_mutex_t) && sizeof(cnd_t) == sizeof(pthread_cond_t));

extern "C" {

int thrd_create(thrd_t* thread, thrd_start_t start, void* argument) {
  auto* const begin = new Start{start, argument};
  const int error = pthread_create(thread, nullptr, &run, begin);
  if (error != 0) delete begin;
  return said(error);
}

int thrd_join(thrd_t thread, int* result) {
  void* returned = nullptr;
  const int error = pthread_join(thread, &returned);
  if (result != nullptr) *result = static_cast<int>(reinterpret_cast<std::intptr_t>(returned));
  return said(error);
}

int thrd_detach(thrd_t thread) { return said(pthread_detach(thread)); }

int mtx_init(mtx_t* mutex, int type) {
  pthread_mutexattr_t attributes;
  pthread_mutexattr_init(&attributes);
  if ((type & mtx_recursive) != 0)
    pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_RECURSIVE);
  const int error = pthread_mutex_init(of(mutex), &attributes);
  pthread_mutexattr_destroy(&attributes);
  return said(error);
}
void mtx_destroy(mtx_t* mutex) { pthread_mutex_destroy(of(mutex)); }
int mtx_lock(mtx_t* mutex) { return said(pthread_mutex_lock(of(mutex))); }
int mtx_trylock(mtx_t* mutex) { return said(pthread_mutex_trylock(of(mutex))); }
int mtx_unlock(mtx_t* mutex) { return said(pthread_mutex_unlock(of(mutex))); }

int cnd_init(cnd_t* condition) { return said(pthread_cond_init(of(condition), nullptr)); }
void cnd_destroy(cnd_t* condition) { pthread_cond_destroy(of(condition)); }
int cnd_signal(cnd_t* condition) { return said(pthread_cond_signal(of(condition))); }
int cnd_broadcast(cnd_t* condition) { return said(pthread_cond_broadcast(of(condition))); }
int cnd_wait(cnd_t* condition, mtx_t* mutex) {
  return said(pthread_cond_wait(of(condition), of(mutex)));
}
int cnd_timedwait(cnd_t* condition, mtx_t* mutex, const timespec* until) {
  return said(pthread_cond_timedwait(of(condition), of(mutex), until));
}

}  // extern "C"
