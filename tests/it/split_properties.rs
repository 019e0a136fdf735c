//! Properties of the splitter.
