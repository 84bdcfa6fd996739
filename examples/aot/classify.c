/* classify.c: classifies a digit with the plan that the build linked in.
 *
 * usage: classify DIGIT.npy [cuda]     (an f32 array of 1x1x20x20; runs on the CPU unless "cuda" is given) */
#include <stdio.h>
#include <string.h>
#include <tenon/host.h>

#include "digits.h"

static void on_diag(void *user, const tn_diag *d) {
    (void)user;
    if (d->severity == TN_ERROR) fprintf(stderr, "%s%s%s\n", d->loc, *d->loc ? ": " : "", d->message);
}

int main(int argc, char **argv) {
    float image[400], logits[10];
    FILE *f = argc > 1 ? fopen(argv[1], "rb") : NULL;
    if (!f || fseek(f, -(long)sizeof image, SEEK_END) || fread(image, sizeof image, 1, f) != 1) {
        fprintf(stderr, "usage: classify DIGIT.npy [cuda]\n");
        return 2;
    }
    fclose(f);

    tn_env env = {.diag = on_diag};
    tn_context_options options = {.device = argc > 2 && !strcmp(argv[2], "cuda") ? TN_CUDA : TN_CPU,
                                  .host = tn_host_devices()};
    tn_status status;
    tn_plan *plan = digits_plan(&env, &status);
    tn_context *context = plan ? tn_context_new(plan, &options, &status) : NULL;
    if (context) status = digits_run(context, 1, image, logits);
    if (status == TN_OK) {
        int best = 0;
        for (int k = 1; k < 10; k++)
            if (logits[k] > logits[best]) best = k;
        printf("the digit is a %d\n", best);
    }
    tn_context_free(context);
    tn_plan_free(plan);
    return tn_status_exit_code(status);
}
