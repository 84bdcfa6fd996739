/* tenon.hpp: plans and contexts for C++17: objects that free themselves, spans, errors as exceptions or as values.
 *
 *     tenon::plan plan("digits.plan");
 *     tenon::context context(plan);
 *     context.input<float>("image", pixels, {1, 1, 20, 20});
 *     context.run();
 *     for (float x : context.output<float>("logits")) ...
 *
 * A thin layer over tenon.h, which says what each call does; handle() gives its objects.  Every call has two forms: the one
 * above throws tenon::error; try_NAME returns a tenon::result and throws nothing.  With TENON_NO_EXCEPTIONS, or a compiler
 * whose exceptions are off, there is only the second.
 *
 * Threads: as tenon.h says: a plan may be shared, a context belongs to one thread at a time. */
#ifndef TENON_TENON_HPP
#define TENON_TENON_HPP

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <initializer_list>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "tenon/tenon.h"

#if !defined(TENON_NO_EXCEPTIONS) && !defined(__cpp_exceptions)
#define TENON_NO_EXCEPTIONS 1
#endif
#ifndef TENON_NO_EXCEPTIONS
#include <stdexcept>
#endif

namespace tenon {

/* What was wrong, where (a layer, a file, an input), and what to do. */
struct failure {
    tn_status status = TN_OK;
    std::string message, where, hint;
    std::string text() const {
        return (where.empty() ? "" : where + ": ") + (message.empty() ? tn_status_text(status) : message) +
               (hint.empty() ? "" : " (" + hint + ")");
    }
};

#ifndef TENON_NO_EXCEPTIONS
class error : public std::runtime_error {
  public:
    explicit error(failure f) : std::runtime_error(f.text()), failure_(std::move(f)) {}
    tn_status status() const noexcept { return failure_.status; }
    const failure &what_failed() const noexcept { return failure_; }

  private:
    failure failure_;
};
#endif

/* A value, or why there is none. */
template <class T> class [[nodiscard]] result {
  public:
    result(T value) : value_(std::move(value)) {}
    result(failure f) : failure_(std::move(f)) {}
    explicit operator bool() const noexcept { return value_.has_value(); }
    const failure &why() const noexcept { return failure_; }
    T &operator*() noexcept { return *value_; }
    T *operator->() noexcept { return &*value_; }
#ifndef TENON_NO_EXCEPTIONS
    /* The value; throws if there is none. */
    T take() && {
        if (!value_) throw error(std::move(failure_));
        return std::move(*value_);
    }
#endif

  private:
    std::optional<T> value_;
    failure failure_;
};

struct done {}; /* what succeeded has no value */

/* A pointer and how many elements follow it. */
template <class T> class span {
  public:
    constexpr span() noexcept = default;
    constexpr span(T *data, std::size_t size) noexcept : data_(data), size_(size) {}
    template <std::size_t N> constexpr span(T (&a)[N]) noexcept : data_(a), size_(N) {}
    template <class C, class = std::enable_if_t<std::is_convertible_v<decltype(std::declval<C &>().data()), T *>>>
    constexpr span(C &c) noexcept : data_(c.data()), size_(c.size()) {}
    constexpr T *data() const noexcept { return data_; }
    constexpr std::size_t size() const noexcept { return size_; }
    constexpr bool empty() const noexcept { return size_ == 0; }
    constexpr T *begin() const noexcept { return data_; }
    constexpr T *end() const noexcept { return data_ + size_; }
    constexpr T &operator[](std::size_t k) const noexcept { return data_[k]; }

  private:
    T *data_ = nullptr;
    std::size_t size_ = 0;
};

/* Bits of floats that C++17 has no type for. */
enum class float16 : std::uint16_t {};
enum class bfloat16 : std::uint16_t {};

/* The element type of T. */
template <class T> constexpr tn_dtype dtype_of() {
    using U = std::remove_cv_t<T>;
    if constexpr (std::is_same_v<U, float>) return TN_F32;
    else if constexpr (std::is_same_v<U, double>) return TN_F64;
    else if constexpr (std::is_same_v<U, float16>) return TN_F16;
    else if constexpr (std::is_same_v<U, bfloat16>) return TN_BF16;
    else if constexpr (std::is_same_v<U, bool>) return TN_BOOL;
    else {
        static_assert(std::is_integral_v<U>, "no element type of a plan");
        constexpr bool is_signed = std::is_signed_v<U>;
        if constexpr (sizeof(U) == 1) return is_signed ? TN_I8 : TN_U8;
        else if constexpr (sizeof(U) == 2) return is_signed ? TN_I16 : TN_U16;
        else if constexpr (sizeof(U) == 4) return is_signed ? TN_I32 : TN_U32;
        else return is_signed ? TN_I64 : TN_U64;
    }
}

/* An input or output of a plan; lives as long as the plan. */
class tensor {
  public:
    explicit tensor(const tn_tensor_desc *d) noexcept : d_(d) {}
    const char *name() const noexcept { return d_->name; }
    tn_dtype dtype() const noexcept { return d_->dtype; }
    span<const std::int64_t> dims() const noexcept { return {d_->dims, d_->rank}; } /* -1: symbolic */
    const char *dim_text(std::size_t k) const noexcept { return d_->dim_text[k]; }

  private:
    const tn_tensor_desc *d_;
};

namespace detail {

/* Keeps what was reported last, of any thread. */
class environment {
  public:
    environment() noexcept {
        env_.diag = on_diag;
        env_.diag_user = this;
    }
    environment(const environment &) = delete;
    environment &operator=(const environment &) = delete;
    const tn_env *get() const noexcept { return &env_; }
    failure why(tn_status s) {
        std::lock_guard<std::mutex> hold(lock_);
        failure f = last_.status == s ? std::move(last_) : failure{};
        f.status = s;
        last_ = failure{};
        return f;
    }

  private:
    static void on_diag(void *user, const tn_diag *d) noexcept {
        auto *e = static_cast<environment *>(user);
        if (d->severity != TN_ERROR) return;
        std::lock_guard<std::mutex> hold(e->lock_);
        e->last_ = failure{d->code, d->message, d->loc, d->hint};
    }
    tn_env env_ = {};
    std::mutex lock_;
    failure last_;
};

struct free_plan {
    void operator()(tn_plan *p) const noexcept { tn_plan_free(p); }
};
struct free_context {
    void operator()(tn_context *c) const noexcept { tn_context_free(c); }
};

} // namespace detail

/* A plan, shared by the contexts that are made of it. */
class plan {
  public:
    static result<plan> try_load(const char *path) {
        plan p;
        tn_status s = TN_OK;
        p.plan_.reset(tn_plan_load(p.env_->get(), path, &s), detail::free_plan());
        return p.finish(s);
    }
    /* Of bytes that outlive the plan, 16-byte aligned. */
    static result<plan> try_load(span<const std::byte> bytes) {
        plan p;
        tn_status s = TN_OK;
        p.plan_.reset(tn_plan_load_memory(p.env_->get(), bytes.data(), bytes.size(), &s), detail::free_plan());
        return p.finish(s);
    }
    /* Takes a plan that C made. */
    static plan adopt(tn_plan *handle) {
        plan p;
        p.plan_.reset(handle, detail::free_plan());
        return p;
    }
#ifndef TENON_NO_EXCEPTIONS
    explicit plan(const char *path) : plan(try_load(path).take()) {}
    explicit plan(const std::string &path) : plan(path.c_str()) {}
    explicit plan(span<const std::byte> bytes) : plan(try_load(bytes).take()) {}
#endif
    tn_plan *handle() const noexcept { return plan_.get(); }
    std::size_t inputs() const noexcept { return tn_plan_input_count(plan_.get()); }
    std::size_t outputs() const noexcept { return tn_plan_output_count(plan_.get()); }
    tensor input(std::size_t k) const noexcept { return tensor(tn_plan_input(plan_.get(), k)); }
    tensor output(std::size_t k) const noexcept { return tensor(tn_plan_output(plan_.get(), k)); }
    /* The place of an input or output; none: there is no such. */
    std::optional<std::size_t> find_input(const char *name) const noexcept {
        return place(tn_plan_find_input(plan_.get(), name));
    }
    std::optional<std::size_t> find_output(const char *name) const noexcept {
        return place(tn_plan_find_output(plan_.get(), name));
    }

  private:
    friend class context;
    plan() : env_(std::make_shared<detail::environment>()) {}
    static std::optional<std::size_t> place(std::size_t k) noexcept {
        return k == TN_NOT_FOUND ? std::nullopt : std::optional<std::size_t>(k);
    }
    result<plan> finish(tn_status s) {
        if (s != TN_OK) return env_->why(s);
        return std::move(*this);
    }
    std::shared_ptr<detail::environment> env_; /* outlives the plan: declared first */
    std::shared_ptr<tn_plan> plan_;
};

/* One inference at a time, on the GPU or, with a host (tenon/host.h), on the CPU. */
class context {
  public:
    using shape = std::vector<std::int64_t>;

    static result<context> try_make(const plan &p, const tn_context_options &options = {}) {
        context c(p, unmade{});
        tn_status s = TN_OK;
        c.context_.reset(tn_context_new(p.handle(), &options, &s));
        if (!c.context_) return p.env_->why(s);
        for (std::size_t k = 0; k < p.outputs(); k++) {
            c.state_->outputs.emplace_back();
            const tn_output_allocator memory = {give_memory, c.state_.get(), false};
            s = tn_context_set_output_allocator(c.context_.get(), k, &memory);
            if (s != TN_OK) return p.env_->why(s);
        }
        return c;
    }
    tn_context *handle() const noexcept { return context_.get(); }
    const plan &of() const noexcept { return plan_; }

    /* An input's elements, densely packed, which stay the caller's and are read by run(); dims: its shape. */
    template <class T> result<done> try_input(const char *name, span<const T> data, span<const std::int64_t> dims) {
        const auto k = plan_.find_input(name);
        if (!k) return unknown("input", name);
        std::uint64_t n = 1;
        for (const std::int64_t d : dims) n *= static_cast<std::uint64_t>(d);
        if (plan_.input(*k).dtype() != dtype_of<T>())
            return failure{TN_E_TYPE, wrong_type(plan_.input(*k).dtype(), dtype_of<T>()), name, ""};
        if (n != data.size())
            return failure{TN_E_TYPE, "the shape has " + std::to_string(n) + " elements, the data " + std::to_string(data.size()),
                           name, ""};
        const tn_status s =
            tn_context_set_shape(context_.get(), *k, static_cast<std::uint32_t>(dims.size()), dims.data());
        if (s != TN_OK) return plan_.env_->why(s);
        inputs_[*k] = data.data();
        return done{};
    }
    /* Runs on host memory and waits. */
    result<done> try_run() {
        const tn_status s = tn_context_run(context_.get(), inputs_.data(), nullptr);
        if (s != TN_OK) return plan_.env_->why(s);
        return done{};
    }
    /* Enqueues on a stream: pointers to device memory, in the plan's order (see tn_context_enqueue). */
    result<done> try_enqueue(span<const void *const> inputs, span<void *const> outputs, void *stream) {
        for (std::size_t k = 0; k < plan_.outputs(); k++) tn_context_set_output_allocator(context_.get(), k, nullptr);
        const tn_status s = tn_context_enqueue(context_.get(), inputs.data(), outputs.data(), stream);
        if (s != TN_OK) return plan_.env_->why(s);
        return done{};
    }
    /* What the last run() made of an output: valid until the next. */
    template <class T> result<span<const T>> try_output(const char *name) {
        const auto k = plan_.find_output(name);
        if (!k) return unknown("output", name);
        if (plan_.output(*k).dtype() != dtype_of<T>())
            return failure{TN_E_TYPE, wrong_type(plan_.output(*k).dtype(), dtype_of<T>()), name, ""};
        auto dims = try_output_shape(name);
        if (!dims) return dims.why();
        std::uint64_t n = 1;
        for (const std::int64_t d : *dims) n *= static_cast<std::uint64_t>(d);
        return span<const T>(static_cast<const T *>(state_->outputs[*k].data()), static_cast<std::size_t>(n));
    }
    result<shape> try_output_shape(const char *name) {
        const auto k = plan_.find_output(name);
        std::uint32_t rank = 0;
        std::array<std::int64_t, TN_MAX_RANK> dims{};
        if (!k) return unknown("output", name);
        const tn_status s = tn_context_output_shape(context_.get(), *k, &rank, dims.data());
        if (s != TN_OK) return plan_.env_->why(s);
        return shape(dims.begin(), dims.begin() + rank);
    }
#ifndef TENON_NO_EXCEPTIONS
    explicit context(const plan &p, const tn_context_options &options = {}) : context(try_make(p, options).take()) {}
    template <class T, class C> void input(const char *name, const C &data, std::initializer_list<std::int64_t> dims) {
        try_input<T>(name, span<const T>(data), span<const std::int64_t>(dims.begin(), dims.size())).take();
    }
    template <class T, class C> void input(const char *name, const C &data, const shape &dims) {
        try_input<T>(name, span<const T>(data), span<const std::int64_t>(dims)).take();
    }
    void run() { try_run().take(); }
    void enqueue(span<const void *const> inputs, span<void *const> outputs, void *stream) {
        try_enqueue(inputs, outputs, stream).take();
    }
    template <class T> span<const T> output(const char *name) { return try_output<T>(name).take(); }
    shape output_shape(const char *name) { return try_output_shape(name).take(); }
#endif

  private:
    /* Memory of an output, aligned for every element type. */
    class room {
      public:
        /* NULL when out of memory: C calls this, and catches nothing. */
        void *get(std::size_t bytes) noexcept {
            if (bytes <= size_) return data_.get();
            data_.reset(std::malloc(bytes));
            size_ = data_ ? bytes : 0;
            return data_.get();
        }
        const void *data() const noexcept { return data_.get(); }

      private:
        struct release {
            void operator()(void *p) const noexcept { std::free(p); }
        };
        std::unique_ptr<void, release> data_;
        std::size_t size_ = 0;
    };
    struct state { /* which the allocators point to, wherever the context moves */
        std::vector<room> outputs;
    };
    struct unmade {};
    context(const plan &p, unmade) : plan_(p), state_(std::make_unique<state>()), inputs_(p.inputs()) {}
    static void *give_memory(void *user, std::size_t k, const char *, std::size_t bytes, void *) noexcept {
        return static_cast<state *>(user)->outputs[k].get(bytes);
    }
    static failure unknown(const char *what, const char *name) {
        return failure{TN_E_ARGUMENT, std::string("the plan has no such ") + what, name, ""};
    }
    static std::string wrong_type(tn_dtype is, tn_dtype given) {
        return std::string("it is ") + tn_dtype_text(is) + ", not " + tn_dtype_text(given);
    }
    plan plan_;
    std::unique_ptr<state> state_;
    std::vector<const void *> inputs_;
    std::unique_ptr<tn_context, detail::free_context> context_; /* goes first */
};

} // namespace tenon

#endif
