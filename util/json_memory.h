/*
 * Memory of JSON.
 *
 * Theory of operation: of a text that it had no memory to read jansson may believe
 * anything (2.14 goes on with a part of a string, and past its end), and a question or an
 * answer that is lost leaves somebody waiting for ever. So what jansson asks for it gets:
 * there is a reserve, which is given up when there is no memory otherwise, and taken anew
 * as soon as there is. A process that has used that up as well ends, with a sentence.
 */
#pragma once

#define JSON_RESERVE (256u << 10) /* more than the largest message takes */

/** json_memory_init() - from now on. @program: its name, for the sentence. */
void json_memory_init(const char *program);
