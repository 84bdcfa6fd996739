#!/usr/bin/env bash
# What other builds and packagers take of Tenon: C++, CMake's components, FetchContent, Meson, Debian packages, manuals, completions,
# the API reference.  Tools that are not installed are named; .ci/install-deps installs all.
# usage: builds.sh CMAKE BUILD_DIR SOURCE_DIR
set -euo pipefail
cmake=$1 build=$(realpath "$2") src=$(realpath "$3")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() { echo "FAILED: $*"; exit 1; }
missing=0
have() { # TOOL: in CI all are there
    command -v "$1" >/dev/null && return
    echo "without $1: ${*:2} not tested (.ci/install-deps installs it)"
    missing=$((missing + 1))
    return 1
}
prefix=$work/prefix
"$cmake" --install "$build" --prefix "$prefix" >/dev/null
lib=$(dirname "$(find "$prefix" -name libtenon.a)")
export PKG_CONFIG_PATH=$lib/pkgconfig PATH=$prefix/bin:$PATH LD_LIBRARY_PATH=$lib
cd "$work"
tenon compile "$src/examples/digits/digits.onnx" -o digits.plan --target sm_90a --no-gpu --quiet
digit=$src/examples/digits/digit_4.npy want='the digit is a 4'

# ---- C++: with exceptions, without, and what is refused
eval "flags=($(pkg-config --cflags tenon)) libs=($(pkg-config --static --libs tenon))"
strict=(-std=c++17 -Wall -Wextra -Wconversion -pedantic -Werror)
g++ "${strict[@]}" "$src/examples/cpp/classify.cpp" "${flags[@]}" "${libs[@]}" -o classify
[ "$(./classify digits.plan "$digit" --cpu)" = "$want" ] || fail "examples/cpp"
rc=0
./classify "$digit" "$digit" --cpu 2>err || rc=$?
[ $rc = 5 ] && grep -q "$digit" err || fail "a file that is no plan: $rc, $(cat err)"
cat >values.cpp <<'CPP'
#include <cstdio>
#include <cstring>
#include <tenon/host.h>
#include <tenon/tenon.hpp>
#define CHECK(x) do { if (!(x)) { std::printf("line %d: %s\n", __LINE__, #x); return 1; } } while (0)

int main(int, char **argv) {
    const auto none = tenon::plan::try_load("nothing.plan");
    CHECK(!none && none.why().status == TN_E_IO && !none.why().message.empty() && none.why().where == "nothing.plan");
    auto loaded = tenon::plan::try_load(argv[1]);
    CHECK(loaded);
    const tenon::plan plan = *loaded;
    CHECK(plan.inputs() == 1 && plan.outputs() == 1 && plan.input(0).dims().size() == 4 && plan.input(0).dims()[0] == -1);
    CHECK(plan.find_input("image") == std::size_t{0} && !plan.find_input("logits") && plan.find_output("logits") == std::size_t{0});
    tn_context_options options = {};
    options.device = TN_CPU, options.host = tn_host_devices();
    auto made = tenon::context::try_make(plan, options);
    CHECK(made);
    tenon::context context = std::move(*made);
    std::vector<float> pixels(2 * 400, 0.5f);
    const std::int64_t two[] = {2, 1, 20, 20}, three[] = {3, 1, 20, 20}, odd[] = {2, 1, 20, 10};
    const tenon::span<const float> all(pixels);
    CHECK(context.try_input("picture", all, two).why().status == TN_E_ARGUMENT);
    CHECK(context.try_input("image", all, three).why().status == TN_E_TYPE);
    CHECK(context.try_input("image", all.size() ? tenon::span<const float>(pixels.data(), 400) : all, odd).why().status == TN_E_TYPE);
    CHECK(context.try_input("image", tenon::span<const double>(), two).why().text() == "image: it is f32, not f64");
    CHECK(context.try_input("image", all, two) && context.try_run());
    auto logits = context.try_output<float>("logits");
    auto shape = context.try_output_shape("logits");
    CHECK(logits && shape && (*shape == std::vector<std::int64_t>{2, 10}) && logits->size() == 20);
    for (std::size_t k = 0; k < 10; k++) CHECK((*logits)[k] == (*logits)[10 + k] && (*logits)[k] != 0);
    CHECK(context.try_output<double>("logits").why().status == TN_E_TYPE);
    CHECK(context.try_output<float>("image").why().status == TN_E_ARGUMENT);
    std::puts("ok");
    return 0;
}
CPP
for options in "" "-fno-exceptions -fno-rtti" "-DTENON_NO_EXCEPTIONS" "-fsanitize=undefined"; do
    # shellcheck disable=SC2086
    g++ "${strict[@]}" $options values.cpp "${flags[@]}" "${libs[@]}" -o values
    [ "$(./values digits.plan)" = ok ] || fail "tenon.hpp ($options): $(./values digits.plan)"
done

# ---- CMake: components, one that there is not, and sources that are fetched
"$cmake" -S "$src/examples/cpp" -B cpp -DCMAKE_PREFIX_PATH="$prefix" >log 2>&1 && "$cmake" --build cpp >log 2>&1 || { cat log; fail "examples/cpp by CMake"; }
[ "$(cpp/classify digits.plan "$digit" --cpu)" = "$want" ] || fail "examples/cpp by CMake"
mkdir wrong fetched
printf 'cmake_minimum_required(VERSION 3.21)\nproject(W LANGUAGES C)\nfind_package(Tenon REQUIRED COMPONENTS Runtime Trainer)\n' >wrong/CMakeLists.txt
"$cmake" -S wrong -B wrong/build -DCMAKE_PREFIX_PATH="$prefix" >log 2>&1 && fail "a component that there is not is found"
grep -q Trainer log || { cat log; fail "the missing component is not named"; }
cat >fetched/CMakeLists.txt <<CMAKE
cmake_minimum_required(VERSION 3.21)
project(Fetched LANGUAGES C CXX)
include(FetchContent)
FetchContent_Declare(tenon SOURCE_DIR "$src")
FetchContent_MakeAvailable(tenon)
foreach(target tenon_rt tenon tenon_cli)
  if(NOT TARGET Tenon::\${target})
    message(FATAL_ERROR "there is no Tenon::\${target}")
  endif()
endforeach()
tenon_add_plan(digits "$src/examples/digits/digits.onnx" TARGETS sm_90a)
add_executable(app "$src/examples/aot/classify.c")
target_link_libraries(app PRIVATE digits Tenon::tenon)
CMAKE
"$cmake" -S fetched -B fetched/build >log 2>&1 || { cat log; fail "FetchContent"; }

# ---- Meson
if have meson "examples/meson"; then
    meson setup meson "$src/examples/meson" >log 2>&1 && ninja -C meson >log 2>&1 || { cat log; fail "examples/meson"; }
    [ "$(meson/classify "$digit")" = "$want" ] || fail "what examples/meson built: $(meson/classify "$digit")"
fi

# ---- Debian packages
if have dpkg-deb "Debian packages" && have cpack "Debian packages"; then
    cpack --config "$build/CPackConfig.cmake" -G DEB -B debs >log 2>&1 || { cat log; fail "cpack"; }
    debs=(debs/*.deb)
    [ "$(printf '%s\n' "${debs[@]##*/}" | cut -d_ -f1 | tr '\n' ' ')" = 'libtenon-dev libtenon-rt libtenon libtriton-tenon tenon ' ] || fail "packages: ${debs[*]}"
    if have lintian "packages by lintian"; then
        lintian --fail-on error --allow-root "${debs[@]}" >log 2>&1 || { grep ^E log; fail "lintian"; }
    fi
    mkdir root
    for deb in "${debs[@]}"; do dpkg-deb -x "$deb" root; done
    dirs=$(find root -name 'libtenon*.so.*' -exec dirname {} + | sort -u)
    [ "$(LD_LIBRARY_PATH=$dirs root/usr/bin/tenon --version)" = "$(tenon --version)" ] || fail "the packaged command"
    for file in man/man1/tenon-bench.1.gz bash-completion/completions/tenon zsh/site-functions/_tenon fish/vendor_completions.d/tenon.fish; do
        [ -s "root/usr/share/$file" ] || fail "no /usr/share/$file"
    done
    if have apt-get "what packages depend on"; then
        apt-get install --simulate -qq "${debs[@]/#/./}" >log 2>&1 || { tail -n 20 log; fail "packages cannot be installed"; }
    fi
fi

# ---- manuals and completions
share=$prefix/share
for page in "$share"/man/man1/*.gz; do
    gzip -t "$page"
    if have man "$page"; then
        [ -z "$(MANROFFSEQ='' man --warnings -E UTF-8 -l -Tutf8 "$page" 2>&1 >/dev/null)" ] || fail "man warns of $page"
    fi
done
gzip -dc "$share/man/man1/tenon-compile.1.gz" | grep 'tune\\-seconds' >/dev/null || fail "the manual of compile lacks an option"
complete=$(bash -c ". '$share/bash-completion/completions/tenon'; COMP_WORDS=(tenon bench --export-t); COMP_CWORD=2; _tenon; echo \${COMPREPLY[@]}")
[ "$complete" = '--export-times --export-trace' ] || fail "bash completes to $complete"
if have zsh "zsh's completion"; then zsh -n "$share/zsh/site-functions/_tenon" || fail "zsh's completion"; fi
if have fish "fish's completion"; then
    complete=$(HOME=$work fish -c "source '$share/fish/vendor_completions.d/tenon.fish'; complete -C 'tenon bench --export-t'" | cut -f1 | tr '\n' ' ')
    [ "$complete" = '--export-times --export-trace ' ] || fail "fish completes to $complete"
fi

# ---- the API reference
if have doxygen "the API reference"; then
    (cd "$src" && { cat runtime/include/Doxyfile; echo "OUTPUT_DIRECTORY = $work/doc"; } | doxygen -) >log 2>&1 || { head -20 log; fail "doxygen"; }
    grep -q 'Uploads the weights' doc/html/*.html || fail "the reference lacks what the headers say"
fi
[ -z "${CI:-}" ] || [ $missing = 0 ] || fail "CI has all of these tools"
echo "all builds pass"
