"""The paper's section 3: which classes belong together, how tasks are mixed, how real the mixture is."""
