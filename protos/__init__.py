"""The wire: messages, tensors, codecs and channels. A peer in another language would have to agree on all of it."""
