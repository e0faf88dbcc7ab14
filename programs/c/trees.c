// Builds and walks binary trees, one allocation per node.
#include <stdio.h>
#include <stdlib.h>

struct node {
    struct node *left, *right;
};

static struct node *build(int depth) {
    struct node *node = malloc(sizeof *node);
    node->left = depth ? build(depth - 1) : NULL;
    node->right = depth ? build(depth - 1) : NULL;
    return node;
}

static int count(const struct node *node) {
    return node->left ? 1 + count(node->left) + count(node->right) : 1;
}

static void release(struct node *node) {
    if (node->left) {
        release(node->left);
        release(node->right);
    }
    free(node);
}

int main(int argc, char **argv) {
    int max = argc > 1 ? atoi(argv[1]) : 12;
    struct node *kept = build(max);
    for (int depth = 4; depth <= max; depth += 4) {
        int trees = 1 << (max - depth), nodes = 0;
        for (int i = 0; i < trees; i++) {
            struct node *tree = build(depth);
            nodes += count(tree);
            release(tree);
        }
        printf("%d trees of depth %d: %d nodes\n", trees, depth, nodes);
    }
    printf("kept: %d nodes\n", count(kept));
    return 0;
}
