/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The model's memory. */
#include "trace/model.h"

#include <stdlib.h>
#include <string.h>

struct model *model_create(u32 max_records)
{
	struct model *model = malloc(sizeof(*model));

	if (!model)
		return NULL;
	model->node = malloc(sizeof(*model->node) * ((size_t)max_records + 1));
	if (!model->node) {
		free(model);
		return NULL;
	}
	return model;
}

void model_destroy(struct model *model)
{
	if (!model)
		return;
	free(model->node);
	free(model);
}

void model_reset(struct model *model, const struct event_roles *roles)
{
	struct node *node = model->node;
	u32 id;

	memset(model, 0, sizeof(*model));
	model->node = node;
	model->node[0] = (struct node){ 0 };
	model->nr_nodes = 1;
	for (id = 0; id < EVENT_KINDS; id++)
		if (roles->role[id])
			model->id[roles->role[id]] = id;
}
