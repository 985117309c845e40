// @ts-check
// All texts of the voice page, by area. A text is a string, or a function of the values in it.

export const texts = {
};
