/* plain.h - claims of plain English, by rules that prefer leaving a sentence whole to saying what it does not.
 *
 * A sentence is taken apart where closed classes of words show that it can be: clauses with subjects of their own, lists after "there is",
 * subjects that share a predicate, predicates that share a subject, lists of objects. Everything that comes out follows from the sentence.
 * Negation, alternatives, comparisons, "between", quotations and relative clauses keep it whole. A pronoun that opens a sentence is
 * replaced by the subject of the sentence before where that can only be meant. Questions are made by inversion or do-support where that is
 * safe, and by "Is it true that ...?" everywhere else. Opinions cannot be told from facts by rule, so none are left out (docs/claims.md).
 */
#ifndef RLAIFV_ENGINE_PLAIN_H
#define RLAIFV_ENGINE_PLAIN_H

#include "engine/claims.h"

/* Appends the claims of an answer and what is left out. 0, or -1 when memory is out. */
int plain_answer(ClaimList *list, const char *answer, Error *e);

/* Cuts the next sentence off *cursor. A full stop ends one only before white space or the end, and not after "Mr." and the like, so "3.5"
 * stays whole; a newline always does. *mark is what ended it: '.', '!', '?', or '\n' for a line or the text. The mark is not part of the
 * text. 0 at the end. */
int plain_sentence_next(const char **cursor, const char **text, size_t *size, char *mark);

#endif
