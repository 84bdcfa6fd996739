/* expression.c: recursive descent over C's precedences; see expression.h. */
#include "codegen/tools/expression.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

typedef struct parser {
    const char *p;
    expression_name_fn name;
    void *user;
    expression *out;
    int depth;  /* of nesting */
    int height; /* of the stack */
} parser;

static void fail(parser *s, const char *why) {
    if (!s->out->error) s->out->error = why;
}

static void emit(parser *s, tn_require_op op, int64_t v) {
    static const int operands[] = {
#define RQ(id, n) n,
        TN_REQUIRE_OPS(RQ)
#undef RQ
    };
    s->height += 1 - operands[op];
    if (s->out->n == EXPRESSION_STEPS || s->height > TN_REQUIRE_STACK)
        fail(s, "the expression is too long");
    else
        s->out->code[s->out->n++] = (tn_require_step){(uint8_t)op, v};
}

static bool accept(parser *s, const char *token) {
    const size_t n = strlen(token);
    while (*s->p == ' ' || *s->p == '\t') ++s->p;
    if (strncmp(s->p, token, n) != 0) return false;
    if (n == 1 && strchr("<>!", *token) && s->p[1] == '=') return false;
    s->p += n;
    return true;
}

static void expect(parser *s, const char *token, const char *why) {
    if (!accept(s, token)) fail(s, why);
}

static void ternary(parser *s);

static void number(parser *s) {
    char *end;
    errno = 0;
    const int64_t v = strtoll(s->p, &end, 10);
    if (errno) fail(s, "the number is too large");
    s->p = end;
    emit(s, TN_RQ_NUMBER, v);
}

static void name(parser *s) {
    char id[64];
    size_t n = 0;
    for (; isalnum((unsigned char)*s->p) || *s->p == '_'; ++s->p)
        if (n + 1 < sizeof id) id[n++] = *s->p;
    id[n] = 0;
    const bool min = !strcmp(id, "min"), max = !strcmp(id, "max"), hint = !strcmp(id, "hint");
    if (!min && !max && !hint) {
        const int number = s->name(s->user, id);
        if (number < 0) fail(s, "too many names");
        emit(s, TN_RQ_NAME, number);
        return;
    }
    expect(s, "(", "expected ( after min, max or hint");
    ternary(s);
    if (!hint) expect(s, ",", "expected , in min or max");
    if (!hint) ternary(s);
    expect(s, ")", "expected )");
    emit(s, hint ? TN_RQ_HINT : min ? TN_RQ_MIN : TN_RQ_MAX, 0);
}

static void primary(parser *s) {
    if (++s->depth > 64) {
        fail(s, "nested too deeply");
    } else if (accept(s, "(")) {
        ternary(s);
        expect(s, ")", "expected )");
    } else if (accept(s, "!")) {
        primary(s);
        emit(s, TN_RQ_NOT, 0);
    } else if (accept(s, "-")) {
        primary(s);
        emit(s, TN_RQ_NEGATE, 0);
    } else if (isdigit((unsigned char)*s->p)) {
        number(s);
    } else if (isalpha((unsigned char)*s->p) || *s->p == '_') {
        name(s);
    } else {
        fail(s, "expected a number, a name or (");
    }
    --s->depth;
}

/* Operators that bind equally, from left to right. */
typedef struct level {
    struct {
        const char *token;
        tn_require_op op;
    } of[7];
} level;

static const level levels[] = {
    {{{"||", TN_RQ_OR}}},
    {{{"&&", TN_RQ_AND}}},
    {{{"<=", TN_RQ_LESS_EQUAL},
      {">=", TN_RQ_GREATER_EQUAL},
      {"==", TN_RQ_EQUAL},
      {"!=", TN_RQ_UNEQUAL},
      {"<", TN_RQ_LESS},
      {">", TN_RQ_GREATER}}},
    {{{"+", TN_RQ_ADD}, {"-", TN_RQ_SUBTRACT}}},
    {{{"*", TN_RQ_MULTIPLY}, {"/", TN_RQ_DIVIDE}, {"%", TN_RQ_MODULO}}},
};
enum { N_LEVELS = sizeof levels / sizeof *levels };

static void binary(parser *s, size_t at) {
    if (at == N_LEVELS) {
        primary(s);
        return;
    }
    binary(s, at + 1);
    for (int k = 0; levels[at].of[k].token;) {
        if (!accept(s, levels[at].of[k].token)) {
            ++k;
            continue;
        }
        binary(s, at + 1);
        emit(s, levels[at].of[k].op, 0);
        k = 0;
    }
}

static void ternary(parser *s) {
    if (++s->depth > 64) {
        fail(s, "nested too deeply");
    } else {
        binary(s, 0);
        if (accept(s, "?")) {
            ternary(s);
            expect(s, ":", "expected :");
            ternary(s);
            emit(s, TN_RQ_CHOOSE, 0);
        }
    }
    --s->depth;
}

void expression_compile(const char *text, expression_name_fn name_fn, void *user, expression *out) {
    parser s = {.p = text, .name = name_fn, .user = user, .out = out};
    *out = (expression){.n = 0};
    ternary(&s);
    while (isspace((unsigned char)*s.p)) ++s.p;
    if (*s.p) fail(&s, "unexpected text after the expression");
}
