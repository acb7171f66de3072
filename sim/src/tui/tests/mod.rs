mod fixture;
mod screens;
