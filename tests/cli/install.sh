#!/usr/bin/env bash
# An installed Tenon, moved to another folder: headers, libraries, pkg-config, find_package; for C and C++.
# usage: install.sh CMAKE BUILD_DIR SOURCE_DIR
set -euo pipefail
cmake=$1 build=$2 src=$3
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() { echo "FAILED: $*"; exit 1; }

"$cmake" --install "$build" --prefix "$work/first" >/dev/null
prefix="$work/moved there"
mv "$work/first" "$prefix"
lib=$(dirname "$(find "$prefix" -name libtenon.a)")
if grep -rnE '(^|[^}A-Za-z_.])/[A-Za-z0-9_.-]+/' "$lib/cmake" "$lib/pkgconfig"; then
    fail "installed files name folders of the machine that built them"
fi
cd "$work"

# Every header alone, in C and C++, with one include path; the build tree's the same as the installed
(cd "$prefix/include" && find . -name '*.h' | sort) >headers
(cd "$build/include" && find . -name '*.h' | sort) | diff - headers || fail "the build's headers are not the installed ones"
compilers=("gcc -std=c11" "g++ -x c++ -std=c++17")
! command -v clang >/dev/null || compilers+=("clang -std=c11" "clang++ -x c++ -std=c++17")
for include in "$prefix/include" "$build/include"; do
    while read -r header; do
        grep -q '^extern "C"' "$include/$header" || fail "$header has no extern \"C\""
        printf '#include <%s>\nint main(void) { return 0; }\n' "${header#./}" >header.c
        for cc in "${compilers[@]}"; do
            $cc -Wall -Wextra -pedantic -Werror -I"$include" -fsyntax-only header.c || fail "$header: $cc"
        done
    done <headers
done

# A program that compiles a model and runs it, through both libraries
cat >app.c <<'C'
#include <stdio.h>
#include <tenon/compiler.h>
#include <tenon/host.h>
#include <tenon/passes/pass.h>

int main(int argc, char **argv) {
    static float image[400], logits[10];
    static tn_compile_options options;
    static tn_context_options cpu;
    static const char *targets[] = {"sm_90a"};
    tn_status s = TN_E_ARGUMENT;
    void *bytes = NULL;
    size_t size = 0;
    options.targets = targets, options.n_targets = 1, options.no_gpu = options.sources_only = true, options.cache_dir = "";
    cpu.device = TN_CPU, cpu.host = tn_host_devices();
    tn_graph *g = argc > 1 ? tn_import_file(NULL, argv[1], NULL, &s) : NULL;
    if (g) s = tn_compile_memory(g, &options, &bytes, &size);
    tn_graph_free(g);
    FILE *f = s == TN_OK ? fopen("digits.plan", "wb") : NULL;
    if (f) fwrite(bytes, 1, size, f), fclose(f);
    tn_plan *plan = s == TN_OK ? tn_plan_load_memory(NULL, bytes, size, &s) : NULL;
    tn_context *c = plan ? tn_context_new(plan, &cpu, &s) : NULL;
    const int64_t dims[] = {1, 1, 20, 20};
    const void *in[] = {image};
    void *out[] = {logits};
    if (c) s = tn_context_set_shape(c, 0, 4, dims);
    if (c && s == TN_OK) s = tn_context_run(c, in, out);
    float sum = 0;
    for (int k = 0; k < 10; k++) sum += logits[k] * logits[k];
    printf("%s %d passes=%d\n", tn_status_text(s), sum > 0, tn_pass_count() > 0);
    tn_context_free(c);
    tn_plan_free(plan);
    tn_free(NULL, bytes, size);
    return 0;
}
C
cp app.c app.cpp
run() { # COMMAND...: the program's output
    "$@" "$src/examples/digits/digits.onnx" | tee out
    grep -qx 'ok 1 passes=1' out || fail "$*"
}

# pkg-config: shared libraries, then static ones where there are no shared ones
export PKG_CONFIG_PATH=$lib/pkgconfig
eval "cflags=($(pkg-config --cflags tenon)) libs=($(pkg-config --libs tenon)) static=($(pkg-config --static --libs tenon))"
if [ -e "$lib/libtenon.so" ]; then
    for name in tenon tenon_rt; do
        readelf -d "$lib/lib$name.so" | grep "SONAME.*\[lib$name\.so\.[0-9.]*\]" >/dev/null || fail "lib$name.so has no soname"
        others=$(nm -D --defined-only "$lib/lib$name.so" | awk '$3 !~ /^tn_/ { print $3 }')
        [ -z "$others" ] || fail "lib$name.so shows $others"
        [ -n "$(nm -D --defined-only "$lib/lib$name.so")" ] || fail "lib$name.so shows nothing"
    done
    gcc -std=c11 app.c "${cflags[@]}" "${libs[@]}" -o shared_c
    g++ -std=c++17 app.cpp "${cflags[@]}" "${libs[@]}" -o shared_cpp
    LD_LIBRARY_PATH=$lib run ./shared_c
    LD_LIBRARY_PATH=$lib run ./shared_cpp
    LD_LIBRARY_PATH=$lib ldd shared_c | grep -F "$lib/libtenon.so" >/dev/null || fail "pkg-config does not give the shared libraries"
    mkdir so
    mv "$lib"/libtenon*.so* so
fi
gcc -std=c11 "$src"/examples/*.c "${cflags[@]}" -fsyntax-only
gcc -std=c11 app.c "${cflags[@]}" "${static[@]}" -o static_c
g++ -std=c++17 app.cpp "${cflags[@]}" "${static[@]}" -o static_cpp
run ./static_c
run ./static_cpp
[ ! -d so ] || mv so/* "$lib"

# libtenon_rt alone: what it is made of, what it needs, and a program that only loads plans
while read -r object; do
    source=${object%.o}
    [ "$source" = plan.pb-c.c ] || [ -n "$(find "$src/runtime" -maxdepth 1 -name "$source")" ] ||
        [ -e "$src/runtime/plan/$source" ] || [ -e "$src/runtime/cuda/$source" ] || fail "libtenon_rt.a holds $object"
done < <(ar t "$lib/libtenon_rt.a")
cat >rt.c <<'C'
#include <stdio.h>
#include <tenon/tenon.h>

static void on_diag(void *user, const tn_diag *d) {
    (void)user;
    printf("%s; %s\n", d->message, d->hint);
}

int main(int argc, char **argv) {
    tn_env env = {0};
    tn_status s = TN_E_ARGUMENT;
    env.diag = on_diag;
    tn_plan *plan = argc > 1 ? tn_plan_load(&env, argv[1], &s) : NULL;
    if (!plan) return tn_status_exit_code(s);
    for (size_t k = 0; k < tn_plan_input_count(plan); k++) printf("in %s\n", tn_plan_input(plan, k)->name);
    for (size_t k = 0; k < tn_plan_output_count(plan); k++) printf("out %s\n", tn_plan_output(plan, k)->name);
    for (size_t k = 0; tn_plan_arch(plan, k); k++) printf("for %s\n", tn_plan_arch(plan, k));
    for (int device = TN_CPU; device <= TN_EMU; device++) {
        tn_context_options o = {0};
        o.device = (tn_device)device;
        if (tn_context_new(plan, &o, &s) || s != TN_E_ARGUMENT) puts("the device opens");
    }
    tn_plan_free(plan);
    return 0;
}
C
hint='link libtenon, include <tenon/host.h> and set tn_context_options.host to tn_host_devices()'
for device in cpu emu; do echo "the device $device is a part of libtenon, not of libtenon_rt; $hint"; done |
    cat <(printf 'in image\nout logits\nfor sm_90a\n') - >want
eval "cflags=($(pkg-config --cflags tenon_rt)) libs=($(pkg-config --libs tenon_rt)) static=($(pkg-config --static --libs tenon_rt))"
if [ -e "$lib/libtenon_rt.so" ]; then
    allowed='libprotobuf-c|libxxhash|libc|libm|libdl|libpthread|ld-linux[a-z0-9-]*'
    others=$(readelf -d "$lib/libtenon_rt.so" | sed -n 's/.*(NEEDED).*\[\(.*\)\].*/\1/p' | grep -vE "^($allowed)\.so" || true)
    [ -z "$others" ] || fail "libtenon_rt.so needs $others"
    gcc -std=c11 rt.c "${cflags[@]}" "${libs[@]}" -o shared_rt
    LD_LIBRARY_PATH=$lib ldd shared_rt | grep -F libtenon.so && fail "a program that runs plans needs libtenon"
    LD_LIBRARY_PATH=$lib ./shared_rt digits.plan | diff - want || fail "libtenon_rt.so alone"
    mv "$lib"/libtenon*.so* so
fi
gcc -std=c11 rt.c "${cflags[@]}" "${static[@]}" -o static_rt
./static_rt digits.plan | diff - want || fail "libtenon_rt.a alone"
[ ! -d so ] || mv so/* "$lib"

# find_package, in projects of C alone and of C++ alone
for language in C CXX; do
    mkdir $language
    [ $language = C ] && file=app.c || file=app.cpp
    cat >$language/CMakeLists.txt <<CMAKE
cmake_minimum_required(VERSION 3.21)
project(App LANGUAGES $language)
set(CMAKE_CXX_STANDARD 17)
find_package(Tenon 0.1 REQUIRED)
add_executable(static ../$file)
target_link_libraries(static PRIVATE Tenon::tenon)
if(TARGET Tenon::tenon_shared)
  add_executable(shared ../$file)
  target_link_libraries(shared PRIVATE Tenon::tenon_shared)
endif()
CMAKE
    "$cmake" -S $language -B $language/build -DCMAKE_PREFIX_PATH="$prefix" -DCMAKE_BUILD_TYPE=Release >log || { cat log; exit 1; }
    "$cmake" --build $language/build >log 2>&1 || { cat log; exit 1; }
    for program in static shared; do
        [ ! -e $language/build/$program ] || run $language/build/$program
    done
done
"$prefix/bin/tenon" --version
