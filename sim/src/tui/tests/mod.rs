mod fixture;
mod keys;
mod screens;
