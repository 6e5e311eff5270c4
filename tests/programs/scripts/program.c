// SPDX-License-Identifier: GPL-2.0-or-later
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
static int shared; static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static void *add(void *times) {
    for (long i = 0; i < (long)times; i++) { pthread_mutex_lock(&lock); shared++; pthread_mutex_unlock(&lock); }
    char *block = malloc(100); memset(block, 1, 100); free(block); return NULL;
}
int main(int argc, char **argv) {
    pthread_t threads[3];
    for (int i = 0; i < 3; i++) pthread_create(&threads[i], NULL, add, (void *)50L);
    for (int i = 0; i < 3; i++) pthread_join(threads[i], NULL);
    printf("%d\n", shared); fflush(stdout);
    if (argc > 1) { volatile char *block = malloc(10); block[10] = 1; free((void *)block); }
    return 0;
}
