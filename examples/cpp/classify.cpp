/* classify.cpp: load a plan and classify a digit, in C++17.
 *
 * usage: classify PLAN DIGIT.npy [--cpu]      (a plan of examples/digits/digits.onnx)
 *
 * --cpu: on the reference device, without a GPU. */
#include <algorithm>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <iterator>
#include <tenon/host.h>
#include <tenon/tenon.hpp>

/* The last bytes of a .npy file are its elements. */
static std::vector<float> read_pixels(const char *path, std::size_t n) {
    std::ifstream f(path, std::ios::binary);
    const std::vector<char> bytes((std::istreambuf_iterator<char>(f)), {});
    std::vector<float> pixels(n);
    if (bytes.size() < n * sizeof(float)) throw std::runtime_error(std::string(path) + " holds no digit");
    std::memcpy(pixels.data(), bytes.data() + bytes.size() - n * sizeof(float), n * sizeof(float));
    return pixels;
}

int main(int argc, char **argv) {
    if (argc < 3) {
        std::fprintf(stderr, "usage: classify PLAN DIGIT.npy [--cpu]\n");
        return 2;
    }
    try {
        tn_context_options options = {};
        if (argc > 3 && !std::strcmp(argv[3], "--cpu")) options.device = TN_CPU, options.host = tn_host_devices();
        const tenon::plan plan(argv[1]);
        tenon::context context(plan, options);
        const std::vector<float> pixels = read_pixels(argv[2], 20 * 20);
        context.input<float>("image", pixels, {1, 1, 20, 20});
        context.run();
        const auto logits = context.output<float>("logits");
        std::printf("the digit is a %td\n", std::max_element(logits.begin(), logits.end()) - logits.begin());
    } catch (const tenon::error &e) {
        std::fprintf(stderr, "error: %s\n", e.what());
        return tn_status_exit_code(e.status());
    } catch (const std::exception &e) {
        std::fprintf(stderr, "error: %s\n", e.what());
        return 1;
    }
    return 0;
}
