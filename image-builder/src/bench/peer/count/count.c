/*
 * A QEMU TCG plugin that counts the guest's instructions, idle time left out, in a file that others can map.
 *
 *   qemu-system-x86_64 -plugin count.so,counter=COUNTER
 *
 * COUNTER is 8 bytes: the instructions executed so far on all CPUs, little-endian. Debian ships no qemu-plugin.h, so the
 * few functions of plugin API version 1 (QEMU 4.2 to 8.2) that are needed are declared here.
 */
#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

typedef uint64_t plugin_id;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
typedef void (*translated)(plugin_id, struct qemu_plugin_tb *);

void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id id, translated callback);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *block);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *block, size_t index);
/* Operation 0 adds `amount` to the u64 at `where`. */
void qemu_plugin_register_vcpu_insn_exec_inline(struct qemu_plugin_insn *insn, int operation, void *where,
                                                uint64_t amount);

__attribute__((visibility("default"))) int qemu_plugin_version = 1;

static uint64_t *counter;

/* Per instruction and not per block: a block may be left in its middle by a fault. */
static void on_translation(plugin_id id, struct qemu_plugin_tb *block)
{
    (void)id;
    for (size_t i = 0; i < qemu_plugin_tb_n_insns(block); i++)
        qemu_plugin_register_vcpu_insn_exec_inline(qemu_plugin_tb_get_insn(block, i), 0, counter, 1);
}

__attribute__((visibility("default"))) int qemu_plugin_install(plugin_id id, const void *info, int argc, char **argv)
{
    (void)info;
    if (argc != 1 || strncmp(argv[0], "counter=", 8) != 0)
        return -1;
    int file = open(argv[0] + 8, O_RDWR | O_CREAT, 0600);
    if (file < 0 || ftruncate(file, sizeof *counter) != 0)
        return -1;
    counter = mmap(NULL, sizeof *counter, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    if (counter == MAP_FAILED)
        return -1;
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation);
    return 0;
}
