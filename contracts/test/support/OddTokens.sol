// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";

/// @notice A token that refuses some accounts, as stablecoins do.
contract BlockingToken is ERC20 {
    mapping(address account => bool) public isBlocked;

    constructor(address holder, uint256 supply) ERC20("Blocking", "BLK") {
        _mint(holder, supply);
    }

    function setBlocked(address account) external {
        isBlocked[account] = true;
    }

    function _update(address from, address to, uint256 value) internal override {
        require(!isBlocked[from] && !isBlocked[to], "blocked");
        super._update(from, to, value);
    }
}

interface IHook {
    function onTransfer(address from, address to, uint256 value) external;
}

/// @notice A token that calls both sides of a transfer, as ERC-777 does.
contract CallingToken is ERC20 {
    mapping(address account => IHook) public hookOf;

    constructor(address holder, uint256 supply) ERC20("Calling", "CALL") {
        _mint(holder, supply);
    }

    function setHook(IHook hook) external {
        hookOf[msg.sender] = hook;
    }

    function _update(address from, address to, uint256 value) internal override {
        if (address(hookOf[from]) != address(0)) hookOf[from].onTransfer(from, to, value);
        super._update(from, to, value);
        if (address(hookOf[to]) != address(0)) hookOf[to].onTransfer(from, to, value);
    }
}
