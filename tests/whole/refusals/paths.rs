//! Every way to spell a request for something that is served, other than the one: refused, and never sent.
//!
//! Not here: what each refusal looks like (`request`).
