/* words.h: what the printer and the parser of programs share. */
#ifndef TENON_CODEGEN_PROGRAM_WORDS_H
#define TENON_CODEGEN_PROGRAM_WORDS_H

#include "codegen/program/program.h"

extern const char *const tn_buffer_words[TN_BUFFER_KINDS], *const tn_step_words[TN_STEP_KINDS], *const tn_body_words[2];

#endif
