"""Label Studio's ML backend: what is annotated in one task of a project is proposed in its others."""
