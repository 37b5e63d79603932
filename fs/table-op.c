/* SPDX-License-Identifier: MIT */
/* Mutations under way, in the table: see table.h. */
#include <config.h>

#include "fs/table.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/fault.h"
#include "common/xalloc.h"
#include "fs/table-priv.h"

static bool
take_slot_locked(struct table *t, uint32_t *slot)
{
	if (stack_pop(&t->free_ops, slot))
		return true;
	if (t->h->ops_top < TABLE_OPS) {
		*slot = t->h->ops_top;
		atomic_store(&t->h->ops_top, *slot + 1);
		return true;
	}
	/* One that was answered since is in both stacks: not twice. */
	while (stack_pop(&t->old_ops, slot)) {
		if (t->ops[*slot].used && t->ops[*slot].seq < t->op_seq)
			return true;
	}
	return false;
}

static void
drop_locked(struct table *t, uint32_t slot)
{
	atomic_store_explicit(&t->ops[slot].used, 0, memory_order_release);
	stack_push(&t->free_ops, slot);
}

uint32_t
table_op_put(struct table *t, const struct table_op *op, uint32_t old)
{
	struct oprec *r;
	uint32_t slot;

	pthread_rwlock_wrlock(&t->lock);
	if (!take_slot_locked(t, &slot)) {
		pthread_rwlock_unlock(&t->lock);
		return 0;
	}
	r = &t->ops[slot];
	atomic_store_explicit(&r->used, 0, memory_order_release);
	r->op = *op;
	r->did = 0;
	r->seq = ++t->h->op_seq;
	FAULT_POINT("table.op-filled");
	atomic_store_explicit(&r->used, 1, memory_order_release);
	FAULT_POINT("table.op-made");
	if (old)
		drop_locked(t, old);
	pthread_rwlock_unlock(&t->lock);
	return slot;
}

uint32_t
table_op_find(struct table *t, uint64_t unique, struct table_op *out,
	      unsigned *did)
{
	uint32_t found = 0;

	pthread_rwlock_rdlock(&t->lock);
	for (uint32_t i = 1; i < t->h->ops_top; i++) {
		const struct oprec *r = &t->ops[i];

		if (r->used && r->op.unique == unique &&
		    (!found || r->seq > t->ops[found].seq))
			found = i;
	}
	if (found) {
		*out = t->ops[found].op;
		*did = t->ops[found].did;
	}
	pthread_rwlock_unlock(&t->lock);
	return found;
}

_Atomic uint32_t *
table_op_did(struct table *t, uint32_t slot)
{
	return &t->ops[slot].did;
}

void
table_op_drop(struct table *t, uint32_t slot)
{
	pthread_rwlock_wrlock(&t->lock);
	drop_locked(t, slot);
	FAULT_POINT("table.op-gone");
	pthread_rwlock_unlock(&t->lock);
}

void
table_ops(struct table *t,
	  void (*fn)(void *arg, uint32_t slot, const struct table_op *op),
	  void *arg)
{
	uint32_t top = t->h->ops_top;

	for (uint32_t i = 1; i < top; i++) {
		struct table_op op;
		bool used;

		pthread_rwlock_rdlock(&t->lock);
		used = t->ops[i].used;
		if (used)
			op = t->ops[i].op;
		pthread_rwlock_unlock(&t->lock);
		if (used)
			fn(arg, i, &op);
	}
}

int
table_ops_attach(struct table *t, struct err *err)
{
	/* Backwards, so that the lowest number is on top of the stacks. */
	for (uint32_t i = t->h->ops_top; i-- > 1;) {
		const struct oprec *r = &t->ops[i];

		if (!r->used) {
			stack_push(&t->free_ops, i);
			continue;
		}
		if (r->used != 1 || r->op.ver_len > sizeof(r->op.ver) ||
		    !memchr(r->op.opid, 0, sizeof(r->op.opid)))
			return err_set(err, -EINVAL,
				       "the record %u of a mutation is damaged",
				       i);
		stack_push(&t->old_ops, i);
	}
	t->op_seq = t->h->op_seq + 1;
	return 0;
}
